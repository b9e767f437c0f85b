import numpy as np
import pytest
from helpers_layers import array, set_random_weights

from keras_switch.layers import Attention, FeedForward, ParallelBlock

X = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")


@pytest.mark.parity
def test_both_branches_read_one_norm():
    block = ParallelBlock(Attention(2, 3), FeedForward(8), epsilon=0.1)
    segments = np.array([[1, 1, 2, 0], [1, 1, 1, 1]])
    block.build(X.shape)
    set_random_weights(block)
    read = X / np.sqrt(np.mean(X**2, axis=-1, keepdims=True) + 0.1)
    read = (read * array(block.mixer_norm.scale)).astype("float32")
    same = (segments[:, :, None] == segments[:, None]) & (segments[:, None] > 0)
    bias = np.random.default_rng(1).normal(size=(1, 2, 4, 4)).astype("float32")
    mixed = block.mixer(read, mask=same[:, None], bias=bias)
    expected = X + array(mixed) + array(block.mlp(read))
    y = block(X, segments=segments, bias=bias)
    np.testing.assert_allclose(array(y), expected, atol=1e-5)
    assert len(block.weights) == 4 + 2 + 1  # attention, feed-forward, one norm
