import dataclasses
import json

import helpers_models as helpers
import keras
import pytest

from keras_switch import models
from keras_switch.routing import ExpertChoice, Switch, TopK


def test_a_config_survives_being_written_as_json():
    config = helpers.tiny(
        mlp=models.GatedMlp("silu"),
        position=models.RotaryPosition(500.0),
        sparse=models.Sparse(
            routing=TopK(2),
            decoder_placement=models.Top(1),
            layer_losses=models.LayerMean(),
            extra_mlp=models.PlainMlp(),
        ),
    )
    written = json.dumps(keras.saving.serialize_keras_object(config))
    assert keras.saving.deserialize_keras_object(json.loads(written)) == config


def test_every_mistake_is_told_at_once():
    with pytest.raises(ValueError) as error:
        models.ModelConfig(
            vocab_size=0,
            d_model=1.5,
            num_kv_heads=0,
            dropout_rate=1.0,
            layer_norm_epsilon=0.0,
            architecture="decoder",
            mlp="relu",
        )
    message = str(error.value)
    for part in (
        "vocab_size=0: give a whole number",
        "d_model=1.5",
        "num_kv_heads=0",
        "dropout_rate=1.0: give a share",
        "layer_norm_epsilon=0.0",
        "nearest is 'decoder-only'",
        "mlp='relu': give PlainMlp or GatedMlp",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 50, "num_sentinels": 100}, "no room for.*at least 103"),
        ({"num_kv_heads": 3}, "num_kv_heads=3 must divide num_heads=4"),
        ({"mlp": models.GatedMlp("geluu")}, "nearest are 'gelu'"),
        ({"position": models.RelativePosition(31)}, "give an even number"),
        ({"position": models.RelativePosition(8, 4)}, "must be above half"),
        ({"position": models.RotaryPosition(1)}, "give over 1"),
        ({"position": models.RotaryPosition(), "d_kv": 3}, "d_kv=3 must be even"),
        ({"prefix_lm": True}, "only decoder-only models have it"),
        ({"block": models.Parallel()}, "no place for cross attention"),
        (
            {"architecture": "decoder-only", "num_decoder_layers": 2},
            "has one stack, set num_layers",
        ),
        (
            {"architecture": "decoder-only", "mixer": models.Fourier()},
            "a decoder needs SelfAttention",
        ),
        ({"sparse": models.Sparse(0)}, "sparse: num_experts=0"),
        ({"sparse": models.Sparse(d_ff=0)}, "sparse: d_ff=0"),
        ({"sparse": models.Sparse(expert_dropout_rate=2)}, "expert_dropout_rate=2"),
        ({"sparse": models.Sparse(placement="odd")}, "placement='odd': give Placement"),
        ({"sparse": models.Sparse(routing=None)}, "routing=None: give Policy"),
        (
            {"sparse": models.Sparse(placement=models.Top(3))},
            "sparse layers of the encoder: Top.*\n.*sparse layers of the decoder",
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy(changes, message):
    with pytest.raises(ValueError, match=message):
        helpers.tiny(**changes)


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder-only"])
def test_experts_do_not_choose_in_a_causal_decoder(architecture):
    sparse = models.Sparse(routing=ExpertChoice())
    with pytest.raises(ValueError, match=r"ExpertChoice.*decoder_routing=TopK\(k=2\)"):
        helpers.tiny(sparse=sparse, architecture=architecture)
    helpers.tiny(sparse=sparse, architecture="encoder-only")
    mended = dataclasses.replace(sparse, decoder_routing=TopK(2))
    config = helpers.tiny(sparse=mended, architecture=architecture)
    assert config.routing("decoder") == TopK(2)
    dense = dataclasses.replace(sparse, decoder_placement=models.NoLayers())
    if architecture == "encoder-decoder":
        assert helpers.tiny(sparse=dense).sparse_layers("decoder") == ()


def test_encoder_and_decoder_have_depths_and_placements_of_their_own():
    config = helpers.tiny(
        num_layers=4,
        num_decoder_layers=3,
        sparse=models.Sparse(decoder_placement=models.Bottom(2)),
    )
    assert config.sparse_layers() == (1, 3)
    assert config.sparse_layers("decoder") == (0, 1)
    assert [config.is_sparse(i) for i in range(4)] == [False, True, False, True]
    assert config.is_sparse(0, "decoder")
    assert (config.depth("encoder"), config.depth("decoder")) == (4, 3)


def test_a_dense_config_has_no_sparse_layer():
    assert helpers.tiny(sparse=None).sparse_layers() == ()


def test_configs_are_equal_by_value():
    assert helpers.tiny() == helpers.tiny()
    assert helpers.tiny(sparse=models.Sparse(routing=Switch(z_loss_weight=1.0))) != (
        helpers.tiny()
    )
