"""Hugging Face's `config.json`, both ways."""

import json
import pathlib

import helpers_checkpoints as checkpoints
import helpers_models
import pytest

from keras_switch import convert, models
from keras_switch.convert import hf_config
from keras_switch.dispatch import BySequence
from keras_switch.routing import Argmax, FixedCapacity, InputJitter, Switch, TopK

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hf"


def test_a_config_is_translated_whole():
    values = json.loads((GOLDENS / "switch_untied" / "config.json").read_text())
    config = hf_config.from_hugging_face(values, sentinels=5)
    assert config == models.ModelConfig(
        vocab_size=120,
        num_sentinels=5,
        d_model=24,
        d_ff=36,
        d_kv=16,
        num_heads=3,
        num_layers=2,
        num_decoder_layers=2,
        mlp=models.PlainMlp("gelu"),
        position=models.RelativePosition(16, 40),
        dropout_rate=0.1,
        layer_norm_epsilon=1e-5,
        tie_embeddings=False,
        sparse=models.Sparse(
            8,
            placement=models.HuggingFace(2),
            decoder_placement=models.HuggingFace(2),
            routing=Switch(
                capacity=FixedCapacity(40),
                exploration=InputJitter(0.01),
                balance_loss_weight=0.02,
                z_loss_weight=0.004,
            ),
            groups=BySequence(),
            expert_dropout_rate=0.1,
            layer_losses=models.LayerMean(),
        ),
    )


@pytest.mark.parametrize(
    ("changes", "mlp"),
    [
        ({"feed_forward_proj": "gated-gelu"}, models.GatedMlp("gelu")),
        ({"feed_forward_proj": "gated-silu"}, models.GatedMlp("silu")),
        ({"feed_forward_proj": "relu"}, models.PlainMlp("relu")),
        ({"dense_act_fn": "gelu_new", "is_gated_act": True}, models.GatedMlp("gelu")),
    ],
)
def test_words_for_mlps_are_understood_as_transformers_does(changes, mlp):
    values = {"model_type": "mt5", "tie_word_embeddings": False, **changes}
    sizes = dict.fromkeys(("vocab_size", "d_model", "d_ff", "d_kv", "num_heads"), 8)
    config = hf_config.from_hugging_face({**values, **sizes, "num_layers": 2})
    assert config.mlp == mlp and config.sparse is None and not config.tie_embeddings
    written, _ = hf_config.to_hugging_face(config)
    assert hf_config.from_hugging_face(written).mlp == mlp


def test_what_release_5_says_of_an_untied_t5_is_understood():
    values, _ = hf_config.to_hugging_face(helpers_models.tiny(sparse=None))
    values |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    assert hf_config.from_hugging_face(values).tie_embeddings is False


def test_every_bad_setting_is_told_at_once():
    values, _ = hf_config.to_hugging_face(checkpoints.small().backbone.config)
    values |= {"num_selected_experts": 2, "expert_capacitty": 3, "d_model": "wide"}
    values |= {"dense_act_fn": "mish", "is_encoder_decoder": False}
    values |= {"router_type": "experts_masked", "expert_capacity": True}
    with pytest.raises(convert.ConversionError) as error:
        hf_config.from_hugging_face(values, "config.json")
    text = str(error.value)
    for mistake in (
        "num_selected_experts=2: transformers runs top-1 alone",
        "expert_capacitty=3: unknown; nearest known is 'expert_capacity'",
        "d_model='wide': not understood",
        "dense_act_fn='mish'",
        "router_type='experts_masked': transformers has no other",
        "expert_capacity=True: not understood",
        "is_encoder_decoder=False",
    ):
        assert mistake in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "decoder-only"}, "it needs an encoder-decoder"),
        ({"position": models.RotaryPosition()}, "relative biases alone"),
        ({"num_kv_heads": 1}, "num_kv_heads=1"),
        ({"mlp": models.GatedMlp()}, "sparse models have no gated MLP"),
        ({"sparse": models.Sparse(4, 48)}, "sparse.d_ff=48"),
        ({"sparse": models.Sparse(4, routing=TopK(2))}, r"Switch\(\) alone"),
        (
            {"sparse": models.Sparse(4, extra_mlp=models.PlainMlp())},
            r"sparse\.extra_mlp: it has none",
        ),
        (
            {"sparse": models.Sparse(4, routing=Switch(priority="probability"))},
            "by position alone",
        ),
        (
            {"sparse": models.Sparse(4, placement=models.Even())},
            "sparse layers",
        ),
    ],
)
def test_what_transformers_cannot_run_is_not_written(changes, message):
    config = helpers_models.tiny(**changes)
    with pytest.raises(convert.ConversionError, match=message):
        hf_config.to_hugging_face(config)


def test_what_can_only_be_said_nearly_is_told():
    sparse = models.Sparse(4, expert_dropout_rate=0.4, routing=Switch())
    values, notes = hf_config.to_hugging_face(helpers_models.tiny(sparse=sparse))
    assert values["expert_capacity"] == 256  # 2.0 * 512 / 4
    assert len(notes) == 2 and "fixed number of places" in notes[1]
    # Weights per layer, of two layers that are added, are one weight per stack.
    assert values["router_aux_loss_coef"] == pytest.approx(1e-2)


def test_an_argmax_router_is_written_as_no_jitter():
    sparse = models.Sparse(
        4, routing=Switch(exploration=Argmax(), capacity=FixedCapacity(3))
    )
    values, notes = hf_config.to_hugging_face(helpers_models.tiny(sparse=sparse))
    assert values["router_jitter_noise"] == 0.0 and not notes
    assert isinstance(
        hf_config.from_hugging_face(values).sparse.routing.exploration, Argmax
    )


@pytest.mark.parametrize("name", ["switch_tied", "switch_untied", "switch_edge"])
def test_a_config_goes_back_as_it_came(name):
    values = json.loads((GOLDENS / name / "config.json").read_text())
    written, _ = hf_config.to_hugging_face(hf_config.from_hugging_face(values))
    for key in (
        *("router_z_loss_coef", "router_aux_loss_coef", "router_jitter_noise"),
        *("expert_capacity", "encoder_sparse_step", "decoder_sparse_step"),
    ):
        assert written[key] == pytest.approx(values[key]), key
