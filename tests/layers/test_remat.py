import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers_layers import set_random_weights, trained

from keras_switch.layers import (
    Attention,
    Block,
    CrossBlock,
    FeedForward,
    RelativeBias,
    Stack,
    SwitchFeedForward,
)

X = np.random.default_rng(0).normal(size=(2, 4, 8)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(2, 3, 8)).astype("float32")
SEGMENTS = np.array([[1, 1, 2, 0], [1, 1, 1, 1]], "int32")


def made(remat, cross=True):
    """Returns a stack with dropout, jitter, auxiliary losses and metrics inside."""
    keras.utils.set_random_seed(1)
    mixers = [Attention(2, 4, dropout_rate=0.3) for _ in range(1 + cross)]
    experts = SwitchFeedForward(2, 6, expert_dropout_rate=0.3, name="experts")
    kind = CrossBlock if cross else Block
    blocks = [
        kind(*mixers, experts, 0.3),
        Block(Attention(2, 4, dropout_rate=0.3), FeedForward(6, dropout_rate=0.3), 0.3),
    ]
    stack = Stack(blocks, RelativeBias(2, 8, 20), dropout_rate=0.3, remat=remat)
    stack.build(X.shape, *([CONTEXT.shape] if cross else []))
    set_random_weights(stack)
    return stack


def assert_alike(plain, again):
    for ours, theirs in zip(again, plain, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parity
def test_output_losses_gradients_and_states_are_those_without_it():
    plain, again = made(False), made(True)
    given = {"segments": SEGMENTS, "context": CONTEXT}
    for _ in range(2):  # the second call starts from the states after the first
        expected, seen = trained(plain, X, **given), trained(again, X, **given)
        assert len(seen[1]) == len(expected[1]) > 0
        assert_alike(expected, seen)


def test_added_losses_have_gradients_of_their_own():
    import tensorflow as tf

    stack = made(True, cross=False)
    with tf.GradientTape() as tape:
        stack(X, training=True)
        loss = sum(stack.losses)
    router = stack.blocks[0].mlp.router.trainable_weights[0]
    assert np.abs(tape.gradient(loss, router.value)).max() > 0


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_fit_gives_the_same_history(jit_compile):
    histories, weights = [], []
    for remat in (False, True):
        stack = made(remat, cross=False)
        model = keras.Sequential([keras.Input(X.shape[1:]), stack])
        model.compile("sgd", "mse", jit_compile=jit_compile)
        histories.append(
            model.fit(X, X, batch_size=1, shuffle=False, verbose=0).history
        )
        weights.append(model.get_weights())
    assert histories[0].keys() == histories[1].keys()
    assert any("dropped" in name for name in histories[0])
    for name, value in histories[0].items():
        np.testing.assert_allclose(histories[1][name], value, rtol=1e-5)
    assert_alike([weights[0]], [weights[1]])


def test_gradients_reach_inputs_context_and_position_bias():
    import tensorflow as tf

    gradients = []
    for remat in (False, True):
        stack, x, context = made(remat), tf.constant(X), tf.constant(CONTEXT)
        with tf.GradientTape() as tape:
            tape.watch([x, context])
            y = tf.reduce_sum(stack(x, context=context, training=True) ** 3)
        sources = [x, context, stack.position.embedding.value]
        gradients.append([tf.convert_to_tensor(g) for g in tape.gradient(y, sources)])
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_frozen_weights_are_left_alone():
    stack = made(True, cross=False)
    stack.blocks[0].mixer.trainable = False
    plain = made(False, cross=False)
    plain.blocks[0].mixer.trainable = False
    assert_alike(trained(plain, X)[:3], trained(stack, X)[:3])


MEASURE = """
import re, sys, numpy as np, keras, tensorflow as tf
from keras_switch.layers import Attention, Block, FeedForward, Stack
blocks = [Block(Attention(4, 16), FeedForward(1024)) for _ in range(12)]
stack = Stack(blocks, remat=sys.argv[1] == "remat")
stack.build((None, None, 64))
x = tf.ones((16, 256, 64))

@tf.function
def step(x):
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(stack(x, training=True) ** 2)
    return tape.gradient(y, [v.value for v in stack.trainable_variables])

def peak():  # of this process; what `resource` tells begins at that of its parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

before = peak()
step(x)
print(peak() - before)
"""


@pytest.mark.slow
def test_the_peak_memory_of_a_step_is_lower():
    def peak(how):
        command = [sys.executable, "-c", MEASURE, how]
        return int(subprocess.check_output(command, env=os.environ).split()[-1])

    assert peak("remat") < 0.5 * peak("plain")
