"""Shared by the tests of dispatch and of the sparse layers."""

import keras
import numpy as np
from keras import ops

ON_JAX = keras.backend.backend() == "jax"


def numpy(x):
    """Returns a tensor of either backend as a NumPy array."""
    return ops.convert_to_numpy(x)


def with_gradients(function, args):
    """Returns `function(*args)`, a scalar, and its gradients, as NumPy arrays."""
    args = [np.asarray(arg, "float32") for arg in args]
    if ON_JAX:
        import jax

        every = tuple(range(len(args)))
        y, grads = jax.jit(jax.value_and_grad(function, every))(*args)
    else:
        import tensorflow as tf

        args = [tf.constant(arg) for arg in args]
        with tf.GradientTape() as tape:
            tape.watch(args)
            y = function(*args)
        # Policies without a router do not look at the logits.
        grads = tape.gradient(y, args, unconnected_gradients="zero")
    return [numpy(y), *(numpy(g) for g in grads)]


def step(layer, x, cotangent, more=None, **kwargs):
    """Returns y, losses, and the gradients of sum(y * cotangent) + losses.

    Args:
        layer: a built layer.
        x: inputs, NumPy.
        cotangent: weights of the sum, of the shape of `x`.
        more: function of x and y whose result is added to what is differentiated.
        **kwargs: further arguments of the call.

    Returns:
        `y`, the summed losses, and the gradients, first for x and then for every
        trainable weight by name.
    """

    def total(x, y, losses):
        y = ops.cast(y, "float32")
        value = ops.sum(y * cotangent) + sum(losses)
        return value if more is None else value + more(x, y)

    weights = layer.trainable_variables
    if ON_JAX:
        import jax

        def loss(x, values):
            states = [v.value for v in layer.non_trainable_variables]
            y, _, losses = layer.stateless_call(
                values, states, x, return_losses=True, **kwargs
            )
            return total(x, y, losses), (y, losses)

        values = [v.value for v in weights]
        differentiated = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
        (dx, grads), (y, losses) = differentiated(x, values)
    else:
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **kwargs)
            losses = layer.losses
            value = total(x, y, losses)
        dx, *grads = tape.gradient(value, [x, *(v.value for v in weights)])
    named = {w.name: numpy(g) for w, g in zip(weights, grads, strict=True)}
    return numpy(y), float(sum(losses, 0.0)), {"x": numpy(dx), **named}


def set_weights(layer, **values):
    """Assigns weights by name, in the layer or its sublayers; all must be given."""
    weights = {w.name: w for w in layer.weights}
    assert set(weights) == set(values), (set(weights), set(values))
    for name, value in values.items():
        weights[name].assign(value)
