"""Initial values drawn piece by piece: no large weight is ever whole on the host.

TensorFlow makes the random numbers of a seed from the steps of a counter (Philox: "As
Easy as 1, 2, 3", Salmon et al., 2011): four numbers a step, and for a truncated normal
256 steps for every four, whether it needs them or not. So any row of a tensor can be
drawn without those before it, and is what it would be in the whole.
"""

import dataclasses
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning import transfer

PIECE = 2**22
"""Bytes drawn at a time; smaller values are drawn whole."""
_GROUP = 4  # numbers of a step
_PHILOX = 1
_DTYPES = ("float32", "bfloat16", "float16")
_FILLS = {keras.initializers.Zeros: 0, keras.initializers.Ones: 1}
_DRAWS = {
    keras.initializers.RandomNormal: (tf.raw_ops.StatelessRandomNormalV2, 1),
    keras.initializers.TruncatedNormal: (tf.raw_ops.StatelessTruncatedNormalV2, 256),
}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """An initial value that is not made yet.

    Args:
        shape: of the whole.
        run: function of a start and a number; returns so many of the value's numbers
            from there on, in the order of rows, as a NumPy array.
    """

    shape: tuple[int, ...]
    run: Callable

    def rows(self, first, number):
        """Returns so many rows, all along the first axis, from `first` on."""
        each = math.prod(self.shape[1:])
        values = self.run(first * each, number * each)
        return values.reshape((number, *self.shape[1:]))

    def put(self, layout):
        """Returns the value as a DTensor; each device gets its part and no more.

        Args:
            layout: `dtensor.Layout`.
        """
        devices, tensors = layout.mesh.local_devices(), {}
        places = [
            tuple(s.indices(n)[:2] for s, n in zip(part, self.shape, strict=True))
            for part in transfer.slices(self.shape, layout)
        ]
        for rows in dict.fromkeys(place[0] for place in places):
            columns = {place[1:] for place in places if place[0] == rows}
            parts = self._parts(*rows, columns)
            for device, place in zip(devices, places, strict=True):
                if place[0] == rows:
                    with tf.device(device):
                        tensors[device] = tf.constant(parts[place[1:]])
        return dtensor.pack([tensors[device] for device in devices], layout)

    def _parts(self, start, stop, columns):
        """Returns arrays of the same rows, by their columns, `((start, stop), ...)`."""
        step = max(1, PIECE // (math.prod(self.shape[1:]) * 4))
        parts = {}
        for first in range(start, stop, step):
            piece = self.rows(first, min(step, stop - first))
            at = slice(first - start, first - start + len(piece))
            for where in columns:
                part = piece[(slice(None), *(slice(*each) for each in where))]
                if where not in parts:
                    parts[where] = np.empty((stop - start, *part.shape[1:]), part.dtype)
                parts[where][at] = part
        return parts


def drawn(initializer, shape, dtype):
    """Returns what an initializer gives; if it is large, a `Drawing` where possible.

    Zeros, ones, and normal and truncated normal numbers of an integer seed can be drawn
    in pieces, and so can those of any initializer with a method `of_shape(shape)` that
    returns one of these. Others are drawn whole.

    Args:
        initializer: of Keras, or one like it.
        shape: of the value.
        dtype: its name.
    """
    shape = tuple(shape)
    if not shape or math.prod(shape) * 4 <= PIECE or dtype not in _DTYPES:
        return initializer(shape, dtype=dtype)
    if hasattr(initializer, "of_shape"):
        initializer = initializer.of_shape(shape)
    run = _run_of(initializer, dtype)
    return initializer(shape, dtype=dtype) if run is None else Drawing(shape, run)


def _run_of(initializer, dtype):
    """Returns `Drawing.run` of an initializer, or `None` if it is not known."""
    kind = type(initializer)
    if kind in _FILLS:
        value = np.array(_FILLS[kind], tf.as_dtype(dtype).as_numpy_dtype)
        return lambda start, number: np.broadcast_to(value, (number,))
    if kind not in _DRAWS or not isinstance(initializer.seed, int):
        return None
    operation, steps = _DRAWS[kind]

    def run(start, number):
        first = start // _GROUP * _GROUP  # a step gives all of its numbers
        values = operation(
            shape=[start + number - first],
            dtype=tf.as_dtype(dtype),
            alg=_PHILOX,
            **_at(initializer.seed, first // _GROUP * steps),
        )
        values = values * tf.cast(initializer.stddev, dtype)
        return (values + tf.cast(initializer.mean, dtype)).numpy()[start - first :]

    return run


def _at(seed, steps):
    """Returns key and counter of a seed, so many steps on."""
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=[seed, 0])
    low, high = (int(word) for word in counter.numpy())
    at = low + (high << 64) + steps
    words = [at % 2**64, (at >> 64) % 2**64]
    return {"key": key, "counter": np.array(words, "uint64")}
