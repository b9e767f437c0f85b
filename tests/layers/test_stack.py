import keras
import numpy as np
import pytest
from helpers_layers import array, hf_t5, set_random_weights
from keras import ops

from keras_switch.layers import (
    Attention,
    Block,
    CrossBlock,
    FeedForward,
    FourierMixing,
    GatedFeedForward,
    ParallelBlock,
    RelativeBias,
    Rotary,
    Stack,
    SwitchFeedForward,
)
from keras_switch.routing import ExpertChoice, FixedCapacity, Hash

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 6, 8)).astype("float32")
CONTEXT = RNG.normal(size=(2, 5, 8)).astype("float32")
CONTEXT_SEGMENTS = np.array([[1, 1, 2, 2, 0], [1, 1, 1, 0, 0]])
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 1, 1]])


def plain(**arguments):
    return Block(Attention(2, 3), FeedForward(8), **arguments)


def cross(**arguments):
    return CrossBlock(Attention(2, 3), Attention(2, 4), FeedForward(8), **arguments)


def palm():
    attention = Attention(4, 4, num_kv_heads=1, rotary=Rotary(), logit_scale=0.5)
    return ParallelBlock(attention, GatedFeedForward(8, "silu"))


def made(*args, **kwargs):
    stack = Stack(*args, **kwargs)
    reads = any(isinstance(block, CrossBlock) for block in stack.blocks)
    stack.build(X.shape, *([CONTEXT.shape] if reads else []))
    set_random_weights(stack)
    return stack


@pytest.mark.parity
@pytest.mark.parametrize("model", ["t5_v10", "t5_v11"])
def test_a_t5_of_hugging_face_has_the_same_stream_after_every_block(goldens, model):
    folder = goldens / "hf" / model
    encoder, decoder, _, weights = hf_t5(folder)
    with np.load(folder / "inputs.npz") as given:
        inputs = dict(given)
    with np.load(folder / "expected.npz") as given:
        expected = dict(given)
    table, real = weights["shared.weight"], inputs["attention_mask"] > 0

    def close(ours, theirs, where=slice(None)):
        scale = max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(array(ours)[where], theirs[where], atol=1e-4 * scale)

    x = table[inputs["input_ids"]]
    encoded = encoder(x, segments=inputs["attention_mask"])
    close(encoded, expected["encoder_last_hidden_state"], real)
    for i, stream in enumerate(streams(encoder, x, segments=inputs["attention_mask"])):
        close(stream, expected[f"enc_block_out_{i}"], real)

    given = {
        "context": expected["encoder_last_hidden_state"],
        "context_segments": inputs["attention_mask"],
    }
    x = table[inputs["decoder_input_ids"]]
    for i, stream in enumerate(streams(decoder, x, **given)):
        close(stream, expected[f"dec_block_out_{i}"])
    tied = model == "t5_v10"
    kernel = weights["shared.weight"].T * table.shape[1] ** -0.5
    kernel = kernel if tied else weights["lm_head.weight"].T
    close(array(decoder(x, **given)) @ kernel, expected["logits"])


def streams(stack, x, **given):
    """Returns the residual stream after each block, before the final norm."""
    seen, through = [], stack._through

    def kept(*args):
        seen.append(through(*args))
        return seen[-1]

    stack._through = kept
    stack(x, **given)
    del stack._through
    return seen


@pytest.mark.parametrize(
    "causal", [False, pytest.param(True, marks=pytest.mark.parity)]
)
def test_packed_examples_never_see_each_other(causal):
    stack = made([cross(), cross()], RelativeBias(2, 8, 20), causal=causal)
    y = array(
        stack(
            X,
            segments=SEGMENTS,
            context=CONTEXT,
            context_segments=CONTEXT_SEGMENTS,
        )
    )
    assert np.isfinite(y).all()
    for tokens, read in ((slice(0, 3), slice(0, 2)), (slice(3, 5), slice(2, 4))):
        alone = stack(X[:1, tokens], context=CONTEXT[:1, read])
        np.testing.assert_allclose(y[:1, tokens], array(alone), atol=2e-6)


@pytest.mark.parity
def test_a_prefix_sees_itself_and_the_rest_is_causal():
    stack = made([plain(), palm_like_plain()], RelativeBias(2, 8, 20), causal=True)
    prefix = np.array([[1, 1, 1, 0, 0, 0]] * 2, bool)
    y = array(stack(X, prefix=prefix))
    changed = X.copy()
    changed[:, 2] += 1
    z = array(stack(changed, prefix=prefix))
    assert (np.abs(z - y).max(axis=(0, 2)) > 1e-3).all()  # the whole prefix sees it
    changed = X.copy()
    changed[:, 4] += 1
    z = array(stack(changed, prefix=prefix))
    np.testing.assert_array_equal(
        np.abs(z - y).max(axis=(0, 2)) > 0, [0, 0, 0, 0, 1, 1]
    )


def palm_like_plain():
    return ParallelBlock(Attention(2, 3), FeedForward(8))


CAUSAL = {
    "t5": lambda: made([cross(), cross()], RelativeBias(2, 8, 20, False), causal=True),
    "palm": lambda: made([palm(), palm()], causal=True),
    "switch": lambda: made(
        [plain(), Block(Attention(2, 3), SwitchFeedForward(2, 8))], causal=True
    ),
}


@pytest.mark.parametrize(
    "kind", ["t5", "palm", pytest.param("switch", marks=pytest.mark.parity)]
)
def test_decoding_step_by_step_equals_the_whole_sequence(kind):
    stack = CAUSAL[kind]()
    given, read = {}, None
    if kind == "t5":
        read = CONTEXT
        given = {"context_segments": CONTEXT_SEGMENTS > 0}
    whole = array(stack(X, context=read, **given))
    cache = stack.init_cache(2, 8, read)  # with room to spare
    for start, stop in ((0, 3), (3, 4), (4, 5), (5, 6)):
        y, cache = stack.step(X[:, start:stop], cache, start, **given)
        np.testing.assert_allclose(array(y), whole[:, start:stop], atol=5e-6)


@pytest.mark.parity
def test_a_prompt_decodes_with_its_prefix():
    stack = made([plain()], RelativeBias(2, 8, 20, False), causal=True)
    prefix = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]], bool)
    whole = array(stack(X, prefix=prefix))
    cache = stack.init_cache(2, 6)
    y, cache = stack.step(X[:, :3], cache, 0, prefix=prefix)
    np.testing.assert_allclose(array(y), whole[:, :3], atol=5e-6)
    y, _ = stack.step(X[:, 3:4], cache, 3, prefix=prefix)
    np.testing.assert_allclose(array(y), whole[:, 3:4], atol=5e-6)


@pytest.mark.parametrize("kind", ["serial", "parallel", "cross"])
def test_experts_that_go_by_token_ids_get_them_in_decoding(kind):
    experts = SwitchFeedForward(4, 8, routing=Hash(capacity=FixedCapacity(6)))
    mixers = [Attention(2, 3) for _ in range(1 + (kind == "cross"))]
    make = {"serial": Block, "parallel": ParallelBlock, "cross": CrossBlock}[kind]
    stack = made([make(*mixers, experts)], causal=True)
    context = CONTEXT if kind == "cross" else None
    ids = np.arange(12).reshape(2, 6)
    whole = array(stack(X, context=context, token_ids=ids))
    cache = stack.init_cache(2, 6, context)
    for i in range(6):
        x, these = X[:, i : i + 1], ids[:, i : i + 1]
        y, cache = stack.step(x, cache, i, token_ids=these)
        np.testing.assert_allclose(array(y), whole[:, i : i + 1], atol=5e-6)


def test_decoding_runs_in_a_loop_and_in_half_precision():
    # The parts keep float32: a layer may be more precise than the stream it adds to.
    stack = Stack([cross(dtype="mixed_bfloat16")], causal=True, dtype="mixed_bfloat16")
    whole = array(stack(X, context=CONTEXT))
    cache = stack.init_cache(2, 6, CONTEXT)

    def body(index, cache, y):
        x, cache = stack.step(ops.slice(X, (0, index, 0), (2, 1, 8)), cache, index)
        return index + 1, cache, ops.slice_update(y, (0, index, 0), x)

    y = ops.zeros((2, 6, 8), "bfloat16")
    _, _, y = ops.while_loop(lambda i, *_: i < 6, body, (0, cache, y))
    np.testing.assert_allclose(array(y), whole, atol=0.05)


@pytest.mark.parity
def test_all_blocks_share_one_position_bias():
    stack = made([plain(), plain()], RelativeBias(2, 8, 20))
    bias = stack.position(np.arange(6), np.arange(6))
    x = X
    for block in stack.blocks:
        x = block(x, bias=bias)
    np.testing.assert_allclose(array(stack(X)), array(stack.final_norm(x)), atol=1e-6)


def test_the_mask_of_a_keras_embedding_is_taken_for_segments():
    ids = np.array([[3, 1, 0, 0], [2, 2, 1, 1]])
    embedding = keras.layers.Embedding(5, 8, mask_zero=True)
    stack = made([plain()])
    np.testing.assert_allclose(
        array(stack(embedding(ids))),
        array(stack(array(embedding(ids)), segments=ids > 0)),
        atol=1e-6,
    )


def test_the_stream_is_dropped_before_and_after_the_blocks():
    stack = Stack([plain()], dropout_rate=0.5)
    stack.build((None, None, 64))
    for weight in stack.blocks[0].weights:
        weight.assign(ops.zeros_like(weight))
    y = array(stack(np.ones((1, 3, 64), "float32"), training=True))
    # Each of two dropouts leaves half the coordinates.
    assert 0.55 < np.mean(y == 0) < 0.95
    np.testing.assert_array_equal(y[0, 0] == 0, y[0, 2] == 0)


@pytest.mark.parametrize(
    ("blocks", "arguments", "match"),
    [
        (
            [Block(FourierMixing(), FeedForward(8))],
            {"causal": True},
            r"is causal, but .* lets tokens see those after them.*causal=False",
        ),
        (
            [Block(Attention(2, 3), SwitchFeedForward(2, 8, routing=ExpertChoice()))],
            {"causal": True},
            r"experts that choose tokens",
        ),
        (
            [Block(Attention(2, 3), FeedForward(8))],
            {"position": RelativeBias(4)},
            r"position bias for 4 heads, but the mixer of .* has 2.*position=None",
        ),
        (
            [Block(FourierMixing(), FeedForward(8))],
            {"position": RelativeBias(4)},
            r"has none",
        ),
        ([plain()] * 2, {}, r"same block twice"),
        ([], {}, r"no blocks"),
    ],
)
def test_stacks_that_cannot_be_are_refused(blocks, arguments, match):
    with pytest.raises(ValueError, match=match):
        Stack(blocks, **arguments)


def test_a_context_must_be_there_when_it_is_wanted_and_only_then():
    with pytest.raises(ValueError, match=r"got none: call it with context="):
        Stack([cross()], causal=True).init_cache(2, 3)
    with pytest.raises(ValueError, match=r"none of its blocks attends to one"):
        Stack([plain()])(X, context=CONTEXT)


def test_a_stack_that_sees_ahead_cannot_step():
    stack = made([plain()])
    with pytest.raises(ValueError, match=r"not causal.*causal=True"):
        stack.step(X[:, :1], stack.init_cache(2, 6), 0)
