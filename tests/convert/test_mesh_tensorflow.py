"""Checkpoints of Mesh TensorFlow: real, in bfloat16, in other orders, and bad ones."""

import json
import pathlib
import re
import shutil

import helpers_convert
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from keras_switch import convert, models
from keras_switch.convert import gin_text, mesh_tensorflow, mtf_config, mtf_names
from keras_switch.convert.source import Arrays
from keras_switch.convert.tf_checkpoint import TensorFlowCheckpoint
from keras_switch.dispatch import MeshTensorFlowGroups
from keras_switch.routing import (
    AllSeconds,
    Argmax,
    CapacityFactor,
    ExpertSelection,
    GShardTop2,
    GShardTopN,
    InputDropout,
    InputJitter,
    NoTokenLeftBehind,
    Sample,
    Switch,
    ThresholdSeconds,
)

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "mtf"
META = json.loads((GOLDENS / "meta.json").read_text())["models"]
MODEL = {name: META[name]["config"] for name in ("switch_t5v10", "switch_t5v11")}


@pytest.fixture
def folder(tmp_path):
    """Returns a folder as a run leaves it."""
    copy = pathlib.Path(
        shutil.copytree(GOLDENS / "switch_t5v10" / "ckpt", tmp_path / "c")
    )
    text = helpers_convert.operative_config(MODEL["switch_t5v10"])
    (copy / "operative_config.gin").write_text(text)
    return copy


def change(folder, old, new):
    file = folder / "operative_config.gin"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def tensors(name="switch_t5v10"):
    """Returns the weights of a golden by name, without the optimizer's slots."""
    source = TensorFlowCheckpoint(mesh_tensorflow.prefix(GOLDENS / name / "ckpt"))
    kept = [
        key for key in source.tensors if "_slot_" not in key and key != "global_step"
    ]
    return {key: source.read(key) for key in kept}


def save(folder, values, step=7):
    """Writes a checkpoint of TensorFlow."""
    tf.raw_ops.SaveV2(
        prefix=str(folder / f"model.ckpt-{step}"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=[tf.constant(value) for value in values.values()],
    )


def test_the_newest_checkpoint_is_read_and_slots_are_passed_over(folder):
    found = mesh_tensorflow.read(folder)
    assert "model.ckpt-1000" in str(found.report)
    wanted = tensors()["encoder/block_001/layer_003/MoE1D/wi/kernel"]
    weights = {w.path: w for w in found.model.weights}
    np.testing.assert_array_equal(
        weights["encoder/block_3/encoder_3/experts/wi"], wanted
    )
    by_name = mesh_tensorflow.read(folder / "model.ckpt-1000")
    assert by_name.report.checksums == found.report.checksums
    by_index = mesh_tensorflow.read(folder / "model.ckpt-1000.index")
    assert by_index.report.checksums == found.report.checksums
    slot = {"Adafactor/beta": np.ones(2, "float32"), "global_step": np.int64(900)}
    save(folder, {**tensors(), **slot}, 900)  # 900 is fewer, though "9" sorts last
    assert "model.ckpt-1000" in str(mesh_tensorflow.read(folder).report)
    assert "model.ckpt-900" in str(mesh_tensorflow.read(folder / "model.ckpt-900"))


def test_the_config_is_translated_whole(folder):
    change(folder, "dropout_rate = 0.0\nnum", "dropout_rate = 0.1\nnum")
    change(
        folder,
        "'argmax'\nMoE1D.z",
        "'input_jitter'\nMoE1D.switch_jitter = 0.03\nMoE1D.z",
    )
    assert mesh_tensorflow.read(folder).model.backbone.config == models.ModelConfig(
        vocab_size=128,
        d_model=24,
        d_ff=40,
        d_kv=8,
        num_heads=3,
        num_layers=4,
        num_decoder_layers=4,
        dropout_rate=0.1,
        sparse=models.Sparse(
            4,
            placement=models.Odd(),
            decoder_placement=models.Odd(),
            routing=Switch(
                capacity=CapacityFactor(1.25, 1.0, 4, at_most_group=False),
                exploration=InputJitter(0.03),
                z_loss_weight=1e-5,
                padding="mesh_tensorflow",
            ),
            groups=MeshTensorFlowGroups(24),
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "epsilon", "dropout"),
    [
        (
            "LayerStack.norm_epsilon = 1e-06",
            "LayerStack.norm_epsilon = 1e-05\nsublayer_dropout.dropout_rate = 0.3",
            *(1e-5, 0.3),
        ),
        (
            "LayerStack.norm_epsilon = 1e-06",
            "LayerStack.norm_epsilon = None\nsublayer_rms_norm.epsilon = 1e-4",
            *(1e-4, 0.0),
        ),
    ],
)
def test_both_ways_to_say_epsilon_and_dropout(folder, old, new, epsilon, dropout):
    change(folder, old, new)
    config = mesh_tensorflow.read(folder).model.backbone.config
    assert (config.layer_norm_epsilon, config.dropout_rate) == (epsilon, dropout)


def test_masters_in_bfloat16_are_cast(folder, tmp_path):
    halves = {key: value.astype(ml_dtypes.bfloat16) for key, value in tensors().items()}
    save(tmp_path, halves)
    found = mesh_tensorflow.read(tmp_path, gin=folder / "operative_config.gin")
    weights = {w.path: w for w in found.model.weights}
    wanted = halves["shared/embedding"].astype("float32")
    np.testing.assert_array_equal(weights["token_embedding/embedding"], wanted)


def test_blocks_that_begin_with_experts_are_seen_from_their_names(folder, tmp_path):
    # bi_moe.gin has MoE1D first: the second pair of sublayers goes before the first.
    moved = {}
    for key, value in tensors().items():
        size = 2 if key.startswith("encoder") else 3
        found = re.search(r"layer_(\d+)", key)
        if found and "relative_attention_bias" not in key:
            number = (int(found[1]) + size) % (2 * size)
            key = key.replace(found[0], f"layer_{number:03}")
        moved[key] = value
    save(tmp_path, moved)
    model = mesh_tensorflow.read(tmp_path, gin=folder / "operative_config.gin").model
    assert model.backbone.config.sparse_layers("decoder") == (0, 2)
    assert model.backbone.config.sparse.placement == models.Even()
    weights = {w.path: w for w in model.weights}
    wanted = tensors()["decoder/block_001/layer_005/MoE1D/wo/kernel"]
    np.testing.assert_array_equal(
        weights["decoder/block_2/decoder_2/experts/wo"], wanted
    )


def test_layers_without_blocks_are_numbered_through(folder, tmp_path):
    flat = {}
    for key, value in tensors().items():
        size = 4 if key.startswith("encoder") else 6
        found = re.search(r"block_(\d+)/layer_(\d+)", key)
        if found:
            number = size * int(found[1]) + int(found[2])
            key = key.replace(found[0], f"layer_{number:03}")
        flat[key] = value
    save(tmp_path, flat)
    gin = folder / "operative_config.gin"
    found = mesh_tensorflow.read(tmp_path, gin=gin).report.checksums
    assert found == mesh_tensorflow.read(folder).report.checksums


GATINGS = {
    "switch": Switch(exploration=Argmax()),
    "switch_max": Switch(exploration=Argmax(), priority="probability"),
    "ntlb": NoTokenLeftBehind(4, exploration=Argmax()),
    "top_2": GShardTop2(
        second_policy_eval=ThresholdSeconds(0.3), second_policy=AllSeconds()
    ),
    "top_n": GShardTopN(
        3, second_policy_eval=ThresholdSeconds(0.3), second_policy=AllSeconds()
    ),
    "expert_selection": ExpertSelection(),
}


@pytest.mark.parametrize("gating", GATINGS)
def test_each_gating_has_its_policy(gating):
    import dataclasses

    moe = {**mtf_config._MOE, "moe_gating": gating, "switch_policy_train": "argmax"}
    moe |= {"second_policy_train": "all", "second_policy_eval": "threshold"}
    moe |= {"second_threshold_eval": 0.3, "use_second_place_loss": True}
    mistakes = []
    wanted = dataclasses.replace(
        GATINGS[gating],
        capacity=CapacityFactor(1.25, 2.0, 4, at_most_group=False),
        padding="mesh_tensorflow",
    )
    if gating == "top_2":
        wanted = dataclasses.replace(wanted, second_place_loss_weight=0.005)
    assert mtf_config._policy(moe, mistakes) == wanted
    assert not mistakes


@pytest.mark.parametrize(
    ("policy", "exploration"),
    [("input_dropout", InputDropout(0.1)), ("sample", Sample(1.0))],
)
def test_each_way_to_explore_has_its_part(policy, exploration):
    moe = {**mtf_config._MOE, "moe_gating": "switch", "switch_policy_train": policy}
    assert mtf_config._policy(moe, []).exploration == exploration


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("MoE1D.loss_coef", "MoE1D.loss_coeff", "MoE1D.loss_coeff: unknown; nearest"),
        ("num_experts = 4", "num_experts = 8", "MoE1D/wi/kernel: of shape"),
        ("= 'switch'", "= 'rand_1'", "moe_gating='rand_1': known are"),
        ("'bias_shared'", "'contextual'", "relative_attention_type='contextual'"),
        ("combine_dims = True", "combine_dims = False", "combine_dims=False"),
        (
            "SelfAttention.combine_dims",
            "encoder/SelfAttention.shared_kv = True\nSelfAttention.combine_dims",
            "SelfAttention.shared_kv=True",
        ),
        ("use_bias = False", "use_bias = True", "DenseReluDense.use_bias=True"),
        ("= 'relu'\nDense", "= 'gelu'\nDense", "all MLPs must be alike"),
        ("train = 'argmax'", "train = 'ask'", "switch_policy_train='ask'"),
        ("eval = 'argmax'", "eval = 'sample'", "draws in evaluation"),
        (
            "MoE1D.z_loss",
            "decoder/MoE1D.group_size = 12\nMoE1D.z_loss",
            "MoE1D: differs between encoder and decoder",
        ),
        ("activation = 'relu'", "activation = ['relu', 'linear']", "has one wi for it"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, old, new, message):
    change(folder, old, new)
    with pytest.raises(convert.ConversionError, match=re.escape(message)):
        mesh_tensorflow.read(folder)


def test_the_config_is_asked_for_when_it_is_missing(folder):
    (folder / "operative_config.gin").unlink()
    with pytest.raises(convert.ConversionError, match=r"_config\.gin is missing"):
        mesh_tensorflow.read(folder)


@pytest.mark.parametrize("file", ["index", "data-00000-of-00001"])
def test_a_checkpoint_that_is_cut_off_is_told(folder, file):
    path = folder / f"model.ckpt-1000.{file}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(convert.ConversionError, match="no intact checkpoint"):
        mesh_tensorflow.read(folder)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("decoder/", "no encoder-decoder of Mesh TensorFlow"),
        ("encoder/block_000/layer_001", "a block of the encoder needs mixer then mlp"),
    ],
)
def test_models_of_another_build_are_refused(gone, message):
    kept = {key: v for key, v in tensors().items() if not key.startswith(gone)}
    with pytest.raises(convert.ConversionError, match=message):
        mtf_names.layout(Arrays(kept))


def test_routers_of_two_kinds_are_refused():
    renamed = {
        key.replace("switch_gating", "ntlb_gating") if "block_001" in key else key: v
        for key, v in tensors().items()
    }
    with pytest.raises(convert.ConversionError, match="'ntlb_gating', 'switch_gating'"):
        mtf_names.layout(Arrays(renamed))


def test_a_weight_that_nothing_takes_is_told(folder, tmp_path):
    save(tmp_path, {**tensors(), "encoder/positional_embedding": np.ones(3, "float32")})
    with pytest.raises(convert.ConversionError, match="embedding: left over"):
        mesh_tensorflow.read(tmp_path, gin=folder / "operative_config.gin")


def test_parts_of_a_tensor_are_read_alone():
    source = TensorFlowCheckpoint(
        mesh_tensorflow.prefix(GOLDENS / "switch_t5v11" / "ckpt")
    )
    name = "encoder/block_000/layer_003/MoE1D/wi_0/kernel"
    where = (slice(1, 3), slice(0, 16), slice(4, 5))
    np.testing.assert_array_equal(source.read(name, where), source.read(name)[where])


def test_every_name_of_a_golden_is_read_from_its_operative_config(tmp_path):
    file = tmp_path / "x.gin"
    file.write_text(helpers_convert.operative_config(MODEL["switch_t5v11"]))
    gin = gin_text.read(file)
    assert gin.get("DenseReluDense", "activation") == ["gelu", "linear"]
    layers = gin.get("make_layer_stack", "layers", scope="encoder")
    assert [layer.last for layer in layers][-1] == "MoE1D"


def test_gated_mlps_end_with_linear(tmp_path):
    text = helpers_convert.operative_config(MODEL["switch_t5v11"])
    file = tmp_path / "x.gin"
    file.write_text(text.replace("['gelu', 'linear']", "['gelu', 'relu']"))
    with pytest.raises(convert.ConversionError, match="gated MLPs end with 'linear'"):
        mesh_tensorflow.read(GOLDENS / "switch_t5v11" / "ckpt", gin=file)


def test_parts_of_one_tensor_after_another_are_their_own():
    source = TensorFlowCheckpoint(
        mesh_tensorflow.prefix(GOLDENS / "switch_t5v11" / "ckpt")
    )
    part = (slice(0, 1), slice(None), slice(None))
    for kernel in ("wi_0", "wi_1", "wi_0"):
        name = f"encoder/block_000/layer_003/MoE1D/{kernel}/kernel"
        np.testing.assert_array_equal(source.read(name, part), source.read(name)[part])
