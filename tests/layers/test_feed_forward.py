import numpy as np
import pytest
from helpers_layers import array, set_random_weights

from keras_switch.layers import FeedForward


@pytest.mark.parity
@pytest.mark.parametrize("shape", [(2, 3, 5), (4, 5)])
def test_each_token_is_widened_activated_and_narrowed(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = FeedForward(7)
    layer.build(shape)
    set_random_weights(layer)
    hidden = np.maximum(x @ array(layer.wi), 0)
    np.testing.assert_allclose(array(layer(x)), hidden @ array(layer.wo), atol=1e-6)


def test_hidden_coordinates_are_dropped_for_all_positions_alike():
    layer = FeedForward(64, dropout_rate=0.5)
    x = np.ones((2, 3, 64), "float32")
    layer.build(x.shape)
    layer.wi.assign(np.eye(64))
    layer.wo.assign(np.eye(64))
    y = array(layer(x, training=True))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y[:, 0], y[:, 2])
    np.testing.assert_array_equal(array(layer(x)), x)


def test_weights_start_as_the_originals():
    layer = FeedForward(400, init_scale=0.1)
    layer.build((None, 300))
    for weight, fan_in in ((layer.wi, 300), (layer.wo, 400)):
        values = array(weight)
        np.testing.assert_allclose(
            values.std(), 0.8796 * (0.1 / fan_in) ** 0.5, rtol=1e-2
        )
