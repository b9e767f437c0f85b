import keras
import numpy as np
import pytest
from helpers_layers import array, set_random_weights
from keras import ops

from keras_switch.layers import (
    Attention,
    Block,
    CrossBlock,
    FeedForward,
    FourierMixing,
    MlpBlock,
    ParallelBlock,
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


class Constant(Layer):
    """Stands for any part of a block; returns one number everywhere."""

    def __init__(self, value, **kwargs):
        super().__init__(**kwargs)
        self.value = value

    def build(self, x_shape, context_shape=None):
        pass

    def call(self, x, mask=None, bias=None, context=None, training=False):
        return self.value * ops.ones_like(x)


BRANCHES = {
    "mixer": lambda: Block(Constant(1.0), Constant(0.0), 0.5),
    "mlp": lambda: Block(Constant(0.0), Constant(1.0), 0.5),
    "parallel mixer": lambda: ParallelBlock(Constant(1.0), Constant(0.0), 0.5),
    "parallel mlp": lambda: ParallelBlock(Constant(0.0), Constant(1.0), 0.5),
    "cross": lambda: CrossBlock(Constant(0.0), Constant(1.0), Constant(0.0), 0.5),
    "extra mlp": lambda: MlpBlock(Constant(1.0), 0.5),
}


@pytest.mark.parametrize("branch", BRANCHES)
def test_each_branch_is_dropped_along_the_length_in_training_only(branch):
    block, x = BRANCHES[branch](), np.zeros((1, 4, 64), "float32")
    context = {"context": x} if branch == "cross" else {}
    y = array(block(x, training=True, **context))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y, y[:, :1].repeat(4, axis=1))
    np.testing.assert_array_equal(array(block(x, **context)), 1)


class Knows(Constant):
    """Keeps whether it was called in training."""

    def call(self, x, mask=None, bias=None, context=None, training=False):
        self.training = training
        return x


@pytest.mark.parametrize("training", [True, False])
def test_every_part_knows_whether_it_is_training(training):
    parts = [Knows(1.0) for _ in range(8)]
    blocks = [
        Block(*parts[:2]),
        ParallelBlock(*parts[2:4]),
        CrossBlock(*parts[4:7]),
        MlpBlock(parts[7]),
    ]
    for block in blocks:
        context = {"context": X} if isinstance(block, CrossBlock) else {}
        block(X, training=training, **context)
    assert [part.training for part in parts] == [training] * 8


def test_experts_with_an_originals_arithmetic_get_padding_as_zeros():
    class Keeps(Seen):
        wants_zero_padding = True

        def call(self, x, **kwargs):
            self.x = x
            return super().call(x, **kwargs)

    mlp = Keeps()
    Block(FourierMixing(), mlp)(X, segments=SEGMENTS)
    np.testing.assert_array_equal(np.any(array(mlp.x), axis=-1), SEGMENTS > 0)


def test_segments_go_before_the_mask_of_a_keras_embedding():
    block = made()
    given = block(X, segments=SEGMENTS, mask=np.ones((2, 4), bool))
    np.testing.assert_array_equal(array(given), array(block(X, segments=SEGMENTS)))


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
