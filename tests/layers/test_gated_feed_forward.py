import keras
import numpy as np
import pytest
from helpers_layers import array, set_random_weights

from keras_switch.layers import GatedFeedForward


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_exact(x):
    from math import erf

    return np.vectorize(lambda v: 0.5 * v * (1 + erf(v / 2**0.5)))(x)


def silu(x):
    return x / (1 + np.exp(-x))


@pytest.mark.parity
@pytest.mark.parametrize(
    ("activation", "oracle"),
    [("gelu", gelu_tanh), (keras.activations.gelu, gelu_exact), ("silu", silu)],
    ids=["t5 v1.1", "exact gelu", "palm"],
)
def test_the_activated_half_gates_the_linear_half(activation, oracle):
    x = 3 * np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    layer = GatedFeedForward(7, activation)
    layer.build(x.shape)
    set_random_weights(layer)
    hidden = oracle(x @ array(layer.wi_0)) * (x @ array(layer.wi_1))
    y = array(layer(x))
    np.testing.assert_allclose(y, hidden @ array(layer.wo), atol=2e-6)
    again = GatedFeedForward.from_config(layer.get_config())
    again.build(x.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(x)), y)


def test_the_tanh_gelu_is_not_the_exact_one():
    assert np.abs(gelu_tanh(np.array([2.0])) - gelu_exact(np.array([2.0]))) > 5e-5
