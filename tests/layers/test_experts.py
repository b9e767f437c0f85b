"""Experts side by side."""

import keras
import numpy as np
import pytest
from helpers_dispatch import numpy, set_weights

from keras_switch.layers import Experts, GatedExperts

E, R, D, F = 3, 4, 2, 5


def weights(**shapes):
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    return {name: draw(shape).astype("float32") for name, shape in shapes.items()}


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@pytest.fixture
def rows():
    return np.random.default_rng(1).standard_normal((E, R, D)).astype("float32")


@pytest.mark.parity
def test_each_expert_is_a_network_of_its_own(rows):
    layer = Experts(E, F, use_bias=True)
    layer.build(rows.shape)
    w = weights(wi=(E, D, F), bi=(E, F), wo=(E, F, D), bo=(E, D))
    set_weights(layer, **w)
    for e, y in enumerate(numpy(layer(rows))):
        hidden = np.maximum(rows[e] @ w["wi"][e] + w["bi"][e], 0)
        np.testing.assert_allclose(y, hidden @ w["wo"][e] + w["bo"][e], atol=1e-5)


@pytest.mark.parity
def test_gated_experts_multiply_an_activated_and_a_linear_branch(rows):
    layer = GatedExperts(E, F)
    layer.build(rows.shape)
    w = weights(wi_0=(E, D, F), wi_1=(E, D, F), wo=(E, F, D))
    set_weights(layer, **w)
    for e, y in enumerate(numpy(layer(rows))):
        hidden = gelu(rows[e] @ w["wi_0"][e]) * (rows[e] @ w["wi_1"][e])
        np.testing.assert_allclose(y, hidden @ w["wo"][e], atol=1e-5)


@pytest.mark.parity
@pytest.mark.parametrize("layer", [Experts(E, F, use_bias=True), GatedExperts(E, F)])
def test_blocks_take_the_weights_of_their_owner(rows, layer):
    layer.build(rows.shape)
    expected = numpy(layer(rows))
    owner = np.array([2, 0, 2, 1], "int32")
    got = numpy(layer(rows[owner], owner=owner))
    np.testing.assert_allclose(got, expected[owner], atol=1e-6)


def test_expert_dropout_is_elementwise_before_wo_and_in_training_only():
    layer = Experts(1, 1000, activation="linear", expert_dropout_rate=0.4)
    layer.build((1, 2, 1))
    # Each hidden unit counts one: the output is the number of units kept, scaled up.
    set_weights(layer, wi=np.ones((1, 1, 1000)), wo=np.ones((1, 1000, 1)))
    ones = np.ones((1, 2, 1))
    np.testing.assert_allclose(numpy(layer(ones)), 1000, rtol=1e-5)
    kept = numpy(layer(ones, training=True))[0, :, 0] * 0.6
    np.testing.assert_allclose(kept, 600, atol=75)  # 5 standard deviations
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-2)
    assert kept[0] != kept[1]  # each row has a mask of its own


@pytest.mark.parametrize("make", [Experts, GatedExperts])
def test_weights_name_their_dimensions_and_start_as_in_the_paper(make):
    layer = make(4, 2000, init_scale=0.1)
    layer.build((None, None, 50))
    for weight in layer.weights:
        last = ("d_ff", "d_model") if weight.name == "wo" else ("d_model", "d_ff")
        assert weight.dims == ("experts", *last)
        bound = np.sqrt(0.1 / weight.shape[1])
        value = numpy(weight.value)
        assert np.abs(value).max() <= 2 * bound + 1e-6
        np.testing.assert_allclose(value.std(), 0.8796 * bound, rtol=0.02)
        assert not np.array_equal(value[0], value[1])


@pytest.mark.parametrize("make", [Experts, GatedExperts])
def test_weights_are_stored_as_the_policy_says_and_used_in_its_compute_dtype(make):
    layer = make(2, 3, dtype="mixed_bfloat16")
    y = layer(np.ones((2, 1, 4), "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {w.dtype for w in layer.weights} == {"float32"}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_experts": 0}, "num_experts=0"),
        ({"d_ff": -1}, "d_ff=-1"),
        ({"d_ff": 2.5}, "d_ff=2.5"),
        ({"expert_dropout_rate": 1.0}, "expert_dropout_rate=1.0"),
    ],
)
def test_impossible_sizes_and_rates_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Experts(**{"num_experts": 2, "d_ff": 3, **kwargs})
