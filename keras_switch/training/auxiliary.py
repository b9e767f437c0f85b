"""The losses that layers add to themselves: load balance, z-loss, regularizers."""

import warnings

import tensorflow as tf

from keras_switch.training.experts import sparse_layers


def sum_over_layers(model):
    """Returns the sum of the losses of all layers, as in Mesh TensorFlow; float32."""
    return _sum(model.losses)


def mean_over_layers(model):
    """Returns the losses of sparse layers averaged over these layers, as in T5X.

    Other losses, such as regularizers, are added in full. (A `ModelConfig` can ask for
    the average too, which plain `fit` then also sees: choose one of the two.)
    """
    layers = sparse_layers(model)
    of_routing = _sum([loss for layer in layers for loss in layer.losses])
    return sum_over_layers(model) - of_routing * (1.0 - 1.0 / max(1, len(layers)))


def total_loss(model, loss):
    """Returns `loss` plus what the layers added in the last call; for your own loop.

    Example:
        >>> with tf.GradientTape() as tape:
        ...     logits = model(inputs, training=True)
        ...     loss = total_loss(model, cross_entropy(logits, targets, weights))

    Args:
        model: a model that was just called with `training=True`.
        loss: scalar.
    """
    layers = sparse_layers(model)
    if layers and not model.losses:
        warnings.warn(
            f"{model.name!r} has {len(layers)} sparse layers but no auxiliary losses: "
            "without them a few experts soon take all tokens. Call the model with "
            "`training=True`, inside the function or tape that uses the loss.",
            stacklevel=2,
        )
    return tf.cast(loss, "float32") + sum_over_layers(model)


def _sum(losses):
    zero = tf.zeros((), "float32")
    return tf.add_n([zero, *(tf.cast(loss, "float32") for loss in losses)])
