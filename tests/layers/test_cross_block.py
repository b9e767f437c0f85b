import numpy as np
import pytest
from helpers_layers import array, set_random_weights

from keras_switch.layers import Attention, CrossBlock, FeedForward

X = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(2, 3, 5)).astype("float32")


def made():
    block = CrossBlock(Attention(2, 3), Attention(3, 2), FeedForward(8))
    block.build(X.shape, CONTEXT.shape)
    set_random_weights(block)
    return block


def norm(x, layer):
    x = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)
    return (x * array(layer.scale)).astype("float32")


@pytest.mark.parity
def test_the_context_is_read_between_mixer_and_mlp():
    block = made()
    real = np.array([[1, 1, 0], [1, 1, 1]], bool)
    x = X + array(block.mixer(norm(X, block.mixer_norm)))
    read = block.cross(
        norm(x, block.cross_norm), context=CONTEXT, mask=real[:, None, None]
    )
    x = x + array(read)
    x = x + array(block.mlp(norm(x, block.mlp_norm)))
    y = block(X, context=CONTEXT, context_mask=real)
    np.testing.assert_allclose(array(y), x, atol=1e-5)


def test_a_missing_context_is_an_error():
    with pytest.raises(ValueError, match=r"attends to a context but got none"):
        made()(X)
