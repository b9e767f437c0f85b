import keras
import numpy as np
import pytest
from helpers_layers import array, set_random_weights

from keras_switch.layers import (
    Attention,
    Block,
    FeedForward,
    FourierMixing,
    SwitchFeedForward,
)
from keras_switch.layers.base import Layer
from keras_switch.routing import ExpertChoice, Hash

X = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
SEGMENTS = np.array([[1, 1, 2, 0], [1, 1, 1, 1]])


def made(mixer=None, mlp=None, **arguments):
    block = Block(mixer or Attention(2, 3), mlp or FeedForward(8), **arguments)
    block.build(X.shape)
    set_random_weights(block)
    return block


def norm(x, scale):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6) * array(scale)


@pytest.mark.parity
def test_both_branches_read_a_norm_and_add_to_the_stream():
    block = made()
    x = X + array(block.mixer(norm(X, block.mixer_norm.scale)))
    x = x + array(block.mlp(norm(x, block.mlp_norm.scale)))
    np.testing.assert_allclose(array(block(X)), x, atol=1e-5)


@pytest.mark.parity
def test_segments_keep_packed_examples_apart():
    block = made()
    y = array(block(X, segments=SEGMENTS))
    alone = array(block(X[:1, :2]))
    np.testing.assert_allclose(y[:1, :2], alone, atol=1e-6)
    np.testing.assert_allclose(y[:1, 2:3], array(block(X[:1, 2:3])), atol=1e-6)


def test_the_mask_of_a_keras_embedding_is_taken_for_segments():
    ids = np.array([[3, 1, 0, 0], [2, 2, 1, 1]])
    block = made()
    embedding = keras.layers.Embedding(5, 6, mask_zero=True)
    np.testing.assert_allclose(
        array(block(embedding(ids))),
        array(block(array(embedding(ids)), segments=ids > 0)),
        atol=1e-6,
    )


class Seen(Layer):
    """Keeps what it was called with."""

    def call(self, x, mask=None, token_ids=None, training=False):
        self.seen = mask, token_ids, training
        return x


def test_the_mlp_learns_which_tokens_are_real_and_ids_only_if_it_asks():
    mlp = Seen()
    block = Block(FourierMixing(), mlp)
    block(X, segments=SEGMENTS, token_ids=SEGMENTS, training=True)
    mask, ids, training = mlp.seen
    np.testing.assert_array_equal(mask, SEGMENTS > 0)
    assert ids is None and training is True
    mlp.uses_token_ids = True
    block(X, token_ids=SEGMENTS)
    mask, ids, training = mlp.seen
    assert mask is None and training is False
    np.testing.assert_array_equal(ids, SEGMENTS)


def test_experts_that_go_by_token_ids_get_them():
    block = made(mlp=SwitchFeedForward(2, 8, routing=Hash()))
    y = array(block(X, token_ids=SEGMENTS))
    assert np.abs(y - array(block(X, token_ids=SEGMENTS + 1))).max() > 1e-3


def test_branches_are_dropped_along_the_length():
    block = Block(FourierMixing(), Seen(), dropout_rate=0.5)
    x = np.zeros((1, 4, 64), "float32")
    x[0, :, 0] = 1.0  # so that the transform is 4 at the first position alone
    y = array(block(x, training=True)) - x
    assert 0 < np.mean(y[0, 0] == 0) < 1


@pytest.mark.parametrize(
    ("parts", "causal"),
    [
        ((Attention(2, 3), FeedForward(8)), True),
        ((FourierMixing(), FeedForward(8)), False),
        ((Attention(2, 3), SwitchFeedForward(2, 8, routing=ExpertChoice())), False),
    ],
)
def test_a_block_is_as_causal_as_its_parts(parts, causal):
    assert Block(*parts).causal is causal
