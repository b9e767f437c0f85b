"""Gradients as float32 tensors, their norm, and clipping by it."""

import tensorflow as tf


def dense(gradient):
    """Returns the gradient of an embedding as one tensor; others as they are."""
    if isinstance(gradient, tf.IndexedSlices):
        rows = gradient.dense_shape[0]
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return gradient


def as_float32(gradients, variables):
    """Returns dense float32 gradients, zeros where a variable has none."""
    return [
        tf.zeros(v.shape, "float32") if g is None else tf.cast(dense(g), "float32")
        for g, v in zip(gradients, variables, strict=True)
    ]


def clip_by_norm(gradients, norm, max_norm):
    """Returns gradients whose global norm is at most `max_norm`.

    If the norm is not finite they are returned as they are, so that whoever looks for
    infinite gradients (loss scaling, a divergence guard) still finds them.

    Args:
        gradients: float32 tensors.
        norm: their global norm.
        max_norm: float.
    """
    scale = tf.where(
        tf.math.is_finite(norm), max_norm / tf.maximum(norm, max_norm), 1.0
    )
    return [gradient * scale for gradient in gradients]
