"""Shared by the tests of routing: goldens, policies, both backends' transforms."""

import functools
import json
import pathlib

import keras
import numpy as np

from keras_switch import routing

GOLDENS = pathlib.Path(__file__).parent / "goldens"

POLICIES = (
    routing.Switch(),
    routing.Switch(exploration=routing.Argmax(), priority="probability"),
    routing.Switch(exploration=routing.InputDropout(rate=0.2), z_loss_weight=1e-3),
    routing.Switch(exploration=routing.Sample(temperature=0.5)),
    routing.Switch(capacity=routing.FixedCapacity(size=3), padding="mesh_tensorflow"),
    routing.TopK(2, renormalize=True, padding="flaxformer"),
    routing.TopK(
        2,
        exploration=routing.LogitNoise(std=0.5),
        importance_loss_weight=1.0,
        load_loss_weight=1.0,
        balance_over="all",
    ),
    routing.GShardTop2(
        second_policy=routing.ThresholdSeconds(threshold=0.3),
        second_place_loss_weight=5e-3,
    ),
    routing.GShardTop2(second_policy=routing.RandomSeconds()),
    routing.GShardTopN(
        k=3,
        second_policy=routing.AllSeconds(),
        second_policy_eval=routing.NoSeconds(),
    ),
    routing.NoTokenLeftBehind(k=3),
    routing.ExpertChoice(),
    routing.ExpertSelection(),
    routing.Soft(),
    routing.Hash(salt=3),
    routing.Uniform(),
)


def name(policy):
    """Returns a short name of a policy for a test's id."""
    return type(policy).__name__


def cases(file):
    """Returns the list of cases of a golden file's json."""
    return json.loads((GOLDENS / f"{file}.json").read_text())["cases"]


@functools.cache
def arrays(file):
    """Returns the arrays of a golden file."""
    with np.load(GOLDENS / f"{file}.npz") as golden:
        return dict(golden)


def softmax(logits, axis=-1):
    """Returns the softmax in float64."""
    logits = np.asarray(logits, "float64")
    e = np.exp(logits - logits.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def numpy(x):
    """Returns a tensor of either backend as a NumPy array."""
    return keras.ops.convert_to_numpy(x)


def assign(policy, logits, mask=None, capacity=None, training=False, seed=0):
    """Returns the policy's assignment; token ids, where needed, are positions."""
    logits = np.asarray(logits, "float32")
    ids = np.broadcast_to(np.arange(logits.shape[1], dtype="int32"), logits.shape[:2])
    return policy.assign(
        logits,
        mask,
        capacity=capacity,
        training=training,
        seed=keras.random.SeedGenerator(seed),
        token_ids=ids if policy.uses_token_ids else None,
    )


def gradient(function, x):
    """Returns the gradient of a scalar function, as a NumPy array."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(function)(np.asarray(x, "float32")))
    import tensorflow as tf

    x = tf.constant(x, "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


def jit(function):
    """Returns the function compiled by XLA."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def traced_shapes(function, shape):
    """Returns the static shapes of the results, given the shape of the argument.

    Unknown sizes are `None` under TensorFlow and 7 under JAX, which has none.
    """
    if keras.backend.backend() == "jax":
        import jax

        shape = [7 if size is None else size for size in shape]
        results = jax.eval_shape(function, jax.ShapeDtypeStruct(shape, "float32"))
        return [result.shape for result in results]
    import tensorflow as tf

    traced = tf.function(function).get_concrete_function(tf.TensorSpec(shape))
    return [tuple(result.shape) for result in traced.outputs]
