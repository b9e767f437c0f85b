import keras
import numpy as np
import pytest
from helpers_layers import (
    array,
    attention_token_by_token,
    set_random_weights,
    turned,
)

from keras_switch.layers import Attention, Rotary, attention_mask


def made(x_shape, context_shape=None, **arguments):
    layer = Attention(**arguments)
    layer.build(x_shape, context_shape)
    set_random_weights(layer)
    return layer


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parity
@pytest.mark.parametrize("kv_heads", [None, 2, 1], ids=["multi", "grouped", "one"])
def test_each_token_reads_the_tokens_it_sees(kv_heads):
    x, bias = random(2, 5, 6), random(1, 4, 5, 5, seed=1)
    layer = made(
        x.shape, num_heads=4, d_kv=3, num_kv_heads=kv_heads, logit_scale=3**-0.5
    )
    segments = np.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 1]])
    y = layer(x, mask=attention_mask(segments, segments, causal=True), bias=bias)

    def visible(row, query, key):
        return query >= key and segments[row, query] == segments[row, key]

    expected = attention_token_by_token(layer, x, x, visible, bias[0])
    np.testing.assert_allclose(array(y), expected, atol=2e-6)


@pytest.mark.parity
def test_a_context_of_another_width_is_read_without_a_mask():
    x, context = random(2, 3, 6), random(2, 4, 7, seed=1)
    layer = made(x.shape, context.shape, num_heads=2, d_kv=5)
    expected = attention_token_by_token(layer, x, context, lambda *_: True)
    np.testing.assert_allclose(array(layer(x, context=context)), expected, atol=2e-6)


@pytest.mark.parity
def test_rotary_turns_queries_and_keys_of_a_sequence():
    x = random(1, 5, 6)
    layer = made(x.shape, num_heads=2, d_kv=4, rotary=Rotary())
    expected = attention_token_by_token(layer, x, x, lambda *_: True, turn=turned)
    np.testing.assert_allclose(array(layer(x)), expected, atol=2e-6)
    # A context has no positions in common with the queries: nothing turns.
    expected = attention_token_by_token(layer, x, x, lambda *_: True)
    np.testing.assert_allclose(array(layer(x, context=x)), expected, atol=2e-6)


@pytest.mark.parity
def test_equals_keras_grouped_query_attention():
    x, mask = random(2, 5, 8), np.tril(np.ones((5, 5), bool))
    ours = made(x.shape, num_heads=4, d_kv=3, num_kv_heads=2, logit_scale=3**-0.5)
    theirs = keras.layers.GroupQueryAttention(3, 4, 2, use_bias=False)
    theirs.build(x.shape, x.shape)
    # Keras repeats key heads in the same order, and names them query, value, key.
    theirs.set_weights([array(w) for w in (ours.query, ours.key, ours.value, ours.out)])
    y = ours(x, mask=np.broadcast_to(mask, (1, 1, 5, 5)))
    expected = theirs(x, x, attention_mask=np.broadcast_to(mask, (2, 5, 5)))
    np.testing.assert_allclose(array(y), array(expected), atol=2e-6)


@pytest.mark.parity
@pytest.mark.parametrize("rotary", [None, Rotary()], ids=["plain", "rotary"])
def test_step_by_step_equals_the_whole_sequence(rotary):
    x = random(2, 5, 6)
    layer = made(x.shape, num_heads=4, d_kv=2, num_kv_heads=2, rotary=rotary)
    ones = np.ones((2, 5), "int32")
    mask, bias = array(attention_mask(ones, ones, causal=True)), random(1, 4, 5, 5)
    whole = array(layer(x, mask=mask, bias=bias))
    cache = layer.init_cache(2, 5)
    for start, stop in ((0, 2), (2, 3), (3, 4), (4, 5)):  # a prompt of two, then each
        rows = slice(start, stop)
        these = mask[:, :, rows], bias[:, :, rows]
        y, cache = layer.step(x[:, rows], cache, start, *these)
        np.testing.assert_allclose(array(y), whole[:, rows], atol=2e-6)
        for part in cache:
            assert not array(part)[:, :, stop:].any()


@pytest.mark.parity
def test_keys_and_values_computed_once_serve_like_the_context():
    x, context = random(2, 3, 6), random(2, 4, 6, seed=1)
    layer = made(x.shape, num_heads=4, d_kv=3, num_kv_heads=1)
    mask = attention_mask(np.ones((2, 3)), np.array([[1, 1, 0, 0], [1, 1, 1, 1]]))
    cache = layer.keys_values(context)
    assert [part.shape for part in cache] == [(2, 1, 4, 3)] * 2
    np.testing.assert_allclose(
        array(layer.attend(x, cache, mask)),
        array(layer(x, context=context, mask=mask)),
        atol=2e-6,
    )


@pytest.mark.parity
def test_a_row_that_sees_nothing_is_finite_and_padding_moves_nobody():
    x = random(1, 4, 6)
    layer = made(x.shape, num_heads=2, d_kv=3)
    segments = np.array([[1, 1, 0, 0]])
    mask = attention_mask(segments, segments)
    y = array(layer(x, mask=mask))
    assert np.isfinite(y).all()
    x[:, 2:] = 1e4
    np.testing.assert_array_equal(array(layer(x, mask=mask))[:, :2], y[:, :2])
    # A mask over tokens, which Keras hands on from an embedding, does the same.
    np.testing.assert_array_equal(
        array(layer(x, mask=segments.astype(bool)))[:, :2], y[:, :2]
    )


def test_logits_and_softmax_are_float32_in_half_precision():
    layer = made((1, 2, 2), num_heads=1, d_kv=2, dtype="mixed_bfloat16")
    layer.query.assign([[[0.0, 0.0]], [[16.0, 1.0]]])
    layer.key.assign([[[16.0, 0.0]], [[16.0, 1.0]]])
    layer.value.assign([[[0.0, 0.0]], [[1.0, 0.0]]])
    layer.out.assign([[[1.0, 0.0], [0.0, 1.0]]])
    # The second token has logits 256 and 257, which are one number in bfloat16.
    y = array(layer(np.eye(2, dtype="float32")[None]))[0, 1, 0]
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-1)), rtol=1e-2)


def test_probabilities_are_dropped_for_all_queries_alike():
    layer = made((1, 3, 64), num_heads=1, d_kv=64, dropout_rate=0.5)
    layer.query.assign(np.zeros((64, 1, 64)))
    layer.value.assign(np.eye(64)[:, None])
    layer.out.assign(np.eye(64)[None])
    x = np.eye(64, dtype="float32")[None]
    y = array(layer(x, training=True)) * 64
    np.testing.assert_allclose(np.unique(y), [0, 2], atol=1e-5)
    np.testing.assert_array_equal(y[0, 0], y[0, 63])
    np.testing.assert_allclose(array(layer(x)) * 64, 1, atol=1e-5)


@pytest.mark.parametrize("logit_scale", [1.0, 32**-0.5])
def test_weights_start_as_mesh_tensorflows(logit_scale):
    layer = Attention(8, 32, num_kv_heads=4, logit_scale=logit_scale)
    layer.build((None, None, 100), (None, None, 400))
    expected = [(100 * 32) ** -0.5 / logit_scale, 0.05, 0.05, (8 * 32) ** -0.5]
    for weight, std in zip(layer.weights, expected, strict=True):
        np.testing.assert_allclose(array(weight).std(), std, rtol=3e-2)


def test_heads_that_cannot_share_evenly_are_refused():
    with pytest.raises(ValueError, match=r"num_heads=6.*num_kv_heads=4.*must divide 6"):
        Attention(6, 8, num_kv_heads=4)


def test_a_mask_of_another_rank_is_refused():
    layer = made((1, 3, 4), num_heads=2, d_kv=2)
    with pytest.raises(ValueError, match=r"mask of shape \(1, 3, 3\).*queries, keys"):
        layer(random(1, 3, 4), mask=np.ones((1, 3, 3), bool))
    with pytest.raises(ValueError, match=r"mask of shape \(1, 3\).*queries, keys"):
        layer(random(1, 3, 4), context=random(1, 3, 4), mask=np.ones((1, 3), bool))
