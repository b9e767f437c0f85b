import dataclasses

import helpers_models as helpers
import keras
import pytest

from keras_switch import models
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.partitioning.rules import DIMS, UNSPLIT
from keras_switch.routing import ExpertChoice, Hash, Soft, TopK

DECODER = {"architecture": "decoder-only"}
ENCODER = {"architecture": "encoder-only"}
CASES = {
    "dense": {"sparse": None},
    "sparse": {},
    "gated, untied": {"mlp": models.GatedMlp(), "tie_embeddings": False},
    "depths": {
        "num_layers": 3,
        "num_decoder_layers": 2,
        "sparse": models.Sparse(3, 20, models.Top(2), models.NoLayers()),
    },
    "router bias": {"sparse": models.Sparse(2, router=models.RouterOptions(True))},
    "extra mlp": {"sparse": models.Sparse(2, extra_mlp=models.GatedMlp())},
    "no router": {"sparse": models.Sparse(2, routing=Hash())},
    "multi-query": {"num_kv_heads": 1},
    "decoder": {**DECODER, "position": models.RotaryPosition()},
    "parallel": {**DECODER, "block": models.Parallel(), "num_kv_heads": 2},
    "encoder": {**ENCODER, "position": None},
    "fourier": {**ENCODER, "mixer": models.Fourier()},
}


@pytest.mark.parametrize("name", CASES)
def test_the_count_is_that_of_the_built_model(name):
    config = helpers.tiny(**CASES[name])
    model = models.SwitchBackbone(config)
    counted = {w.path: (w.shape, w.dims) for w in models.count(config).weights}
    built = {w.path: (tuple(w.shape), w.dims) for w in model.weights}
    assert counted == built
    assert models.count(config).total == model.count_params()


def test_the_count_knows_what_weights_are_stored_in():
    config = helpers.tiny()
    model = models.SwitchBackbone(config, dtype="bfloat16")
    stored = {w.path: w.dtype for w in model.weights}
    assert {w.path: w.dtype for w in models.count(config, "bfloat16").weights} == stored
    assert set(stored.values()) == {"bfloat16", "float32"}


def test_the_largest_model_is_counted_without_allocating():
    found = models.count(models.preset("switch_c").config)
    assert found.total == 1_571_327_875_360
    assert found.active < 2e9
    # Keras would give forgotten variables values here: terabytes of them.
    with keras.StatelessScope():
        pass


@pytest.mark.parametrize(
    ("routing", "visited"),
    [(TopK(1), 1), (TopK(2), 2), (Soft(), 4), (Hash(), 1), (ExpertChoice(), 2)],
)
def test_active_parameters_count_the_experts_that_a_token_visits(routing, visited):
    # ExpertChoice: capacity factor 2 in evaluation, two experts a token on average.
    sparse = models.Sparse(4, routing=routing, decoder_placement=models.NoLayers())
    config = helpers.tiny(sparse=sparse)
    found = models.count(config)
    expert = 2 * config.d_model * config.d_ff
    assert found.total - found.active == (4 - visited) * expert


def test_a_dense_model_is_active_as_a_whole():
    found = models.count(dataclasses.replace(helpers.TINY, sparse=None))
    assert found.active == found.total


PARTS = {
    **CASES,
    "gated experts": {"mlp": models.GatedMlp()},
    "every block sparse": {"sparse": models.Sparse(4, placement=models.AllLayers())},
    "parallel, sparse": {
        "architecture": "decoder-only",
        "block": models.Parallel(),
        "sparse": models.Sparse(4, placement=models.AllLayers()),
    },
}
KNOWN = {*DIMS, *UNSPLIT}


def check_dims(weights):
    assert weights
    for weight in weights:
        assert weight.dims, weight.path
        assert len(weight.dims) == len(weight.shape), weight.path
        assert set(weight.dims) <= KNOWN, (weight.path, weight.dims)


@pytest.mark.parametrize("name", models.PRESETS)
def test_every_weight_of_a_preset_names_dimensions_that_rules_know(name):
    weights = models.count(models.PRESETS[name].config).weights
    check_dims(weights)
    # Each over one axis: nothing large is left that cannot be split.
    for dim in ("experts", "d_model", "d_ff", "heads", "vocab"):
        of = [(w.path, w.shape, w.dims) for w in weights if dim in w.dims]
        LayoutRules(((dim, "all"),)).check(MeshShape.parse("all:2"), of)


@pytest.mark.parametrize("name", PARTS)
def test_every_weight_of_a_built_model_names_dimensions_that_rules_know(name):
    model = models.SwitchBackbone(helpers.tiny(**PARTS[name]))
    for weight in model.trainable_variables:
        # An attribute that only `Layer.add_param` sets: without it this is an error.
        check_dims([weight])
