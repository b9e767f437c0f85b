"""Values into variables and out of them, on one device or in parts on a mesh."""

import numpy as np
from keras import ops


def put(variable, read):
    """Gives a variable its value; on a mesh every device reads the part it holds.

    Args:
        variable: Keras variable.
        read: function of a tuple of slices, or of `None` for the whole, that returns an
            array.
    """
    layout = _layout(variable)
    if layout is None:
        variable.assign(read(None))
        return
    from keras_switch.partitioning.transfer import packed

    seen, found = {}, []
    for where in _where(variable, layout):
        key = tuple((part.start, part.stop) for part in where)
        if key not in seen:
            seen[key] = read(where)
        found.append(seen[key])
    variable.value.assign(packed(found, layout))


def parts(variable):
    """Yields slices and array of each part of a variable; `None` for the whole."""
    layout = _layout(variable)
    if layout is None:
        yield None, ops.convert_to_numpy(variable)
        return
    from tensorflow.experimental import dtensor

    found = dtensor.unpack(variable.value.read_value())
    for where, part in zip(_where(variable, layout), found, strict=True):
        yield where, part.numpy()


def whole(variable) -> np.ndarray:
    """Returns the value of a variable, gathered if it is on a mesh."""
    if _layout(variable) is None:
        return ops.convert_to_numpy(variable)
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
