"""Values that are written where TensorFlow keeps them, so that none is there twice."""

import ctypes

import numpy as np
from keras import backend


def filled(shape, dtype, fill):
    """Returns a tensor that a function has filled, in memory of the host.

    Args:
        shape: of the tensor.
        dtype: its type, as Keras names it.
        fill: function that writes into an array of this shape and type.

    Returns:
        A tensor that nothing else refers to; under other backends than TensorFlow an
        array.
    """
    if backend.backend() != "tensorflow":
        array = np.empty(shape, dtype)
        fill(array)
        return array
    import tensorflow as tf

    with tf.device("CPU:0"):
        tensor = tf.raw_ops.Empty(shape=shape, dtype=tf.as_dtype(dtype))
    fill(_writable(np.asarray(tensor)))
    return tensor


def _writable(array):
    """Returns an array that may be written to, in the memory of one that may not.

    TensorFlow shows its memory for reading alone, because tensors do not change. This
    one has no value yet.
    """
    if array.nbytes == 0:
        return array.copy()
    memory = (ctypes.c_ubyte * array.nbytes).from_address(array.ctypes.data)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)


def seen(tensor) -> np.ndarray:
    """Returns a tensor as an array to be read, in its own memory if that is the host's.

    Args:
        tensor: tensor of the backend.
    """
    value = np.asarray(tensor).view()
    value.flags.writeable = False
    return value


def value_of(variable):
    """Returns the tensor that a Keras variable holds, not a copy of it."""
    value = variable.value
    return value.read_value() if backend.backend() == "tensorflow" else value


def release(variable):
    """Gives back the memory of a variable, which is about to get another value.

    Args:
        variable: Keras variable that is on no mesh. It holds anything afterwards.
    """
    if backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    old = variable.value
    with tf.device(old.device):
        # Memory that nobody has written to is none yet.
        old.assign(tf.raw_ops.Empty(shape=old.shape, dtype=old.dtype))
