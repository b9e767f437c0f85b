"""Values into variables and out of them, on one device or in parts on a mesh."""

import functools

import numpy as np
from keras import backend

from keras_switch.convert import memory


def put(variable, fill):
    """Gives a variable its value; on a mesh every device reads the part it holds.

    The old value goes before the new one comes, so that one of them is there.

    Args:
        variable: Keras variable.
        fill: function of a tuple of slices, or of `None` for the whole, and of an array
            of that part's shape, which it fills.
    """
    layout = _layout(variable)
    dtype = backend.standardize_dtype(variable.dtype)
    if layout is None:
        memory.release(variable)
        shape = tuple(variable.shape)
        variable.assign(memory.filled(shape, dtype, functools.partial(fill, None)))
        return
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    seen, found = {}, []
    devices = layout.mesh.local_devices()
    for where, device in zip(_where(variable, layout), devices, strict=True):
        key = tuple((part.start, part.stop) for part in where)
        if key not in seen:
            shape = [stop - start for start, stop in key]
            part = functools.partial(fill, where)
            seen[key] = memory.filled(shape, dtype, part)
        with tf.device(device):
            found.append(tf.identity(seen[key]))
    variable.value.assign(dtensor.pack(found, layout))


def copy(source, target):
    """Gives a variable the value of another one, on any mesh or on none."""
    value = whole(source)

    def fill(where, part):
        part[...] = value if where is None else value[where]

    put(target, fill)


def parts(variable):
    """Yields slices and array of each part of a variable; `None` for the whole."""
    layout = _layout(variable)
    if layout is None:
        yield None, memory.seen(memory.value_of(variable))
        return
    from tensorflow.experimental import dtensor

    found = dtensor.unpack(variable.value.read_value())
    for where, part in zip(_where(variable, layout), found, strict=True):
        yield where, memory.seen(part)


def whole(variable) -> np.ndarray:
    """Returns the value of a variable, gathered if it is on a mesh; only to be read."""
    if _layout(variable) is None:
        return memory.seen(memory.value_of(variable))
    from keras_switch.partitioning.transfer import full

    return full(variable)


def _layout(variable):
    """Returns the layout of a variable on a mesh, or `None`."""
    if not hasattr(variable.value, "placement"):  # nor has it one on other backends
        return None
    return variable.value.layout


def _where(variable, layout):
    """Returns the slices that each device of this process holds, with their ends."""
    from keras_switch.partitioning.transfer import slices

    shape = tuple(variable.shape)
    return [
        tuple(
            slice(*part.indices(size)[:2])
            for part, size in zip(where, shape, strict=True)
        )
        for where in slices(shape, layout)
    ]
