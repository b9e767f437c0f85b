"""Batches `(inputs, targets, weights)`: completing, splitting, building a model."""

import keras
import tensorflow as tf

from keras_switch.partitioning import constrain, steps


def unpack(batch):
    """Returns inputs, targets and float32 weights of a batch, ones if it has none.

    Raises:
        ValueError: if the batch has no targets.
    """
    inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
    if targets is None:
        raise ValueError(
            "A batch must be (inputs, targets) or (inputs, targets, weights); "
            f"this one is {tf.nest.map_structure(_described, batch)}."
        )
    targets = tf.convert_to_tensor(targets)
    if weights is None:
        shape = tf.shape(targets)
        weights = tf.ones(shape if targets.dtype.is_integer else shape[:-1])
    return inputs, targets, tf.cast(weights, "float32")


def split(batch, parts: int):
    """Returns the tensors of a batch, `(B, ...)`, as `(parts, B / parts, ...)`.

    Raises:
        ValueError: if the batch size is unknown or no multiple of `parts`.
    """

    def reshaped(x):
        size, *rest = x.shape
        if size is None or size % parts:
            raise ValueError(
                f"A batch of {size} examples cannot be split into {parts} equal "
                "micro-batches: use a multiple, and drop the incomplete last batch "
                "(`dataset.batch(..., drop_remainder=True)`)."
            )
        x = constrain(x, *(None,) * x.shape.rank)  # whole: token ids are small
        return tf.reshape(x, (parts, size // parts, *_sizes(x, rest)))

    return tf.nest.map_structure(reshaped, batch)


def check_split(model, element_spec, microbatches=1):
    """Raises `ValueError` if the mesh of a model, if any, cannot share batches evenly.

    Args:
        model: Keras model.
        element_spec: of the batches that this process feeds.
        microbatches: parts that each is computed in.
    """
    mesh = getattr(model, "mesh", None)
    axis = mesh and mesh.rules.axis_of("batch")
    _, targets, _ = keras.utils.unpack_x_y_sample_weight(element_spec)
    size = getattr(targets, "shape", (None,))[0]
    if axis is None or size is None:
        return
    rows, parts = size * mesh.clients.share.of, mesh.shape.size(axis)
    if rows % (parts * microbatches):
        small = f" in {microbatches} micro-batches" * (microbatches > 1)
        raise ValueError(
            f"A batch of {rows} rows{small} cannot be split over {axis}:{parts}: set "
            f"the batch size to a multiple of {parts * microbatches}, or take another "
            "mesh."
        )


def build(model, element_spec):
    """Makes the weights of a model that has none, by a call on zeros.

    Args:
        model: Keras model.
        element_spec: of the batches that it will see.
    """
    if model.built:
        return

    def zeros(spec):
        return tf.zeros([size or 1 for size in spec.shape], spec.dtype)

    inputs, *_ = keras.utils.unpack_x_y_sample_weight(element_spec)
    if getattr(model, "mesh", None) is not None:
        steps.build_model(model, tf.nest.map_structure(_of_known_size, inputs))
        return
    model(tf.nest.map_structure(zeros, inputs), training=False)


def _of_known_size(spec):
    return tf.TensorSpec([size or 1 for size in spec.shape], spec.dtype)


def _sizes(x, rest):
    """Returns the sizes after the first axis, those unknown as tensors."""
    shape = tf.shape(x)
    return [shape[i] if size is None else size for i, size in enumerate(rest, 1)]


def _described(x):
    return f"{x.dtype.name}{tuple(x.shape)}" if hasattr(x, "shape") else x
