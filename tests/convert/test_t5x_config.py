"""Published gin files of T5X as configs."""

import pytest

from keras_switch import convert, models
from keras_switch.convert import gin_text
from keras_switch.convert.t5x_config import from_t5x
from keras_switch.convert.t5x_known import KNOWN
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.routing import CapacityFactor, InputJitter, TopK

PUBLISHED = {
    "switch_base": "switch_base_128",
    "switch_large": "switch_large_128",
    "switch_xxl": "switch_xxl",
    "switch_c": "switch_c",
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_the_published_moe_configs_are_the_presets_of_their_names(file, tmp_path):
    path = tmp_path / "x.gin"
    path.write_text(f"include 'flaxformer/t5x/configs/moe/models/{file}.gin'\n")
    found, preset = from_t5x(gin_text.read(path, KNOWN)), models.preset(PUBLISHED[file])
    assert models.count(found).total == preset.parameters
    assert found.sparse.routing.capacity == preset.config.sparse.routing.capacity
    assert found.sparse_layers("encoder") == preset.config.sparse_layers("encoder")
    assert found.mlp == preset.config.mlp
    assert found.tie_embeddings == preset.config.tie_embeddings


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("t5_1_1/small", "t5_1_1_small"),
        ("t5_1_1/xxl", "t5_1_1_xxl"),
        ("t5_1_0/11B", "t5_11b"),
        ("t5_1_0/base", "t5_base"),
    ],
)
def test_the_published_dense_configs_are_the_presets_of_their_names(
    file, name, tmp_path
):
    path = tmp_path / "x.gin"
    path.write_text(f"include 't5x/examples/t5/{file}.gin'\nDROPOUT_RATE = 0.1\n")
    config = from_t5x(gin_text.read(path, KNOWN))
    assert models.count(config).total == models.preset(name).parameters
    assert config.dropout_rate == 0.1


def test_an_unknown_setting_of_a_dense_model_is_told(tmp_path):
    path = tmp_path / "x.gin"
    path.write_text("network.T5Config.emb_dims = 8\n")
    with pytest.raises(convert.ConversionError, match=r"emb_dims: unknown.*'emb_dim'"):
        from_t5x(gin_text.read(path))


MOE = "include 'flaxformer/t5x/configs/moe/models/switch_base.gin'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NUM_EXPERTZ = 8", r"NUM_EXPERTZ: unknown; nearest known is 'NUM_EXPERTS'"),
        ("m.MoeLayer.num_experts = 8", "MoeLayer.num_experts=8: say it by the macro"),
        (
            "expert/d.MlpBlock.intermediate_dim = %EMBED_DIM",
            "intermediate_dim=768: say it by the macro, EXPERT_MLP_DIM = 768",
        ),
        ("m.MoeLayer.capacity = 8", "MoeLayer.capacity: unknown; nearest"),
        ("d.MlpBlock.use_bias = True", "MlpBlock.use_bias=True: only False is read"),
        (
            "sparse_decoder/r.TokensChooseMaskedRouter.ignore_paddings = True",
            "ignore_paddings: unknown; nearest known is 'ignore_padding_tokens'",
        ),
        ("layer_norm.T5LayerNorm.epsilon = 1e-3", "epsilon=0.001: only 1e-06 is read"),
        ("t.SparseEncoderLayer.parallel = True", "parallel=True: only False"),
    ],
)
def test_what_a_moe_run_says_besides_its_macros_is_told(text, message, tmp_path):
    path = tmp_path / "x.gin"
    path.write_text(f"{MOE}{text}\n")
    with pytest.raises(convert.ConversionError, match=message):
        from_t5x(gin_text.read(path, KNOWN))


def test_a_run_that_repeats_its_macros_is_read(tmp_path):
    # As T5X logs a run: every class is bound, and so is much that is no model.
    path = tmp_path / "x.gin"
    path.write_text(
        f"""{MOE}
NUM_EXPERT_PARTITIONS = %NUM_EXPERTS
BATCH_SIZE = 128
DROPOUT_FACTORY = @dropout_factory/linen.Dropout
moe_layers.MoeLayer:
  num_experts = %NUM_EXPERTS
  max_group_size = %GROUP_SIZE
  train_capacity_factor = %TRAIN_EXPERT_CAPACITY_FACTOR
  num_expert_partitions = %NUM_EXPERT_PARTITIONS
  dtype = 'bfloat16'
ENCODER_SPARSE_LAYOUT = %moe_enums.LayerLayout.MIXED
moe_architecture.SparseEncoder.sparse_layout = %ENCODER_SPARSE_LAYOUT
dense.MlpBlock.intermediate_dim = %MLP_DIM
expert/dense.MlpBlock.intermediate_dim = %EXPERT_MLP_DIM
dense.MlpBlock.use_bias = False
routing.TokensChooseMaskedRouter.num_selected_experts = %NUM_SELECTED_EXPERTS
"""
    )
    plain = tmp_path / "y.gin"
    plain.write_text(MOE)
    assert from_t5x(gin_text.read(path, KNOWN)) == from_t5x(gin_text.read(plain, KNOWN))


@pytest.mark.parametrize("size", ["base", "large", "xxl", "c"])
def test_the_classic_models_are_those_of_today_with_a_number_of_their_own(
    size, tmp_path
):
    path = tmp_path / "x.gin"
    name = f"flaxformer/t5x/configs/moe/models/switch_classic_{size}.gin"
    path.write_text(f"include '{name}'\n")
    with pytest.raises(convert.ConversionError, match="NUM_EXPERTS: missing"):
        from_t5x(gin_text.read(path, KNOWN))
    path.write_text(f"include '{name}'\nNUM_EXPERTS = 16\n")
    classic = from_t5x(gin_text.read(path, KNOWN))
    path.write_text(f"{MOE.replace('base', size)}NUM_EXPERTS = 16\n")
    assert classic == from_t5x(gin_text.read(path, KNOWN))


def translated(tmp_path, *lines):
    path = tmp_path / "x.gin"
    path.write_text(MOE + "\n".join(lines) + "\n")
    return from_t5x(gin_text.read(path, KNOWN))


def test_routers_of_both_stacks_are_translated_apart(tmp_path):
    router = "routing.TokensChooseMaskedRouter"
    config = translated(
        tmp_path,
        "NUM_SELECTED_EXPERTS = 2",
        "JITTER_NOISE = 0.02",
        "AUX_LOSS_FACTOR = 0.03",
        "ROUTER_Z_LOSS_FACTOR = 0.004",
        "GROUP_SIZE = 100",
        f"sparse_encoder/{router}.batch_prioritized_routing = True",
        f"sparse_decoder/{router}.ignore_padding_tokens = True",
    )
    common = {
        "balance_over": "all",
        "capacity": CapacityFactor(1.25, 2.0, 4, rounding="round", at_most_group=False),
        "exploration": InputJitter(0.02),
        "balance_loss_weight": 0.03,
        "z_loss_weight": 0.004,
    }
    assert config.routing("encoder") == TopK(
        2, priority="probability", padding="flaxformer", **common
    )
    assert config.routing("decoder") == TopK(2, padding="flaxformer_ignore", **common)
    assert config.sparse.groups == FlaxformerGroups(100, 128)


def test_dropout_of_experts_and_dense_stacks_are_translated(tmp_path):
    config = translated(
        tmp_path,
        "DROPOUT_RATE = 0.1",
        "EXPERT_DROPOUT_RATE = 0.4",
        "NUM_DECODER_SPARSE_LAYERS = 0",
    )
    assert (config.dropout_rate, config.sparse.expert_dropout_rate) == (0.1, 0.4)
    assert config.sparse_layers("decoder") == ()
    assert config.sparse_layers("encoder") == (1, 3, 5, 7, 9, 11)
    assert config.tie_embeddings


def test_experts_of_another_kind_than_the_dense_mlps_are_refused(tmp_path):
    with pytest.raises(convert.ConversionError, match="experts must be of the kind"):
        translated(tmp_path, "expert/dense.MlpBlock.activations = ('gelu', 'linear')")
