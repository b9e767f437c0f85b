"""Which mesh is in force here: the ends of the thread that the rest of the room spins.

This file knows no backend. Two things are told apart: a mesh is *entered* (`with
mesh:`), which decides where new variables go, and it is *running* (a traced step of a
`MeshTrainer`), which decides whether `constrain` does anything.
"""

import contextlib
import threading


class _State(threading.local):
    entered = None
    running = None
    exporting = False
    dims = None  # of the value that `LaidOut` made last
    slot = None  # layout of the weight whose slot is being made


_state = _State()


def entered():
    """Returns the `Mesh` of the innermost `with mesh:`, or `None`."""
    return _state.entered


def running():
    """Returns the `Mesh` on which this code is being traced or run, or `None`."""
    return _state.running


def on_mesh():
    """Returns whether this code is being traced or run on a mesh."""
    return _state.running is not None


def parts_of(dim, size):
    """Returns into how many parts the running mesh splits a dimension; 1 without one.

    Args:
        dim: name of the dimension.
        size: of the dimension.
    """
    mesh = _state.running
    if mesh is None:
        return 1
    (axis,) = mesh.rules.specs((dim,), (size,), mesh.shape)
    return mesh.shape.size(axis)


def exporting():
    """Returns whether a function is being traced that will run without the mesh."""
    return _state.exporting


def noted_dims():
    """Returns the dims of the initial value that was just made, or `None`."""
    return _state.dims


def slot_layout():
    """Returns the layout of the weight whose slot is being made, or `None`."""
    return _state.slot


class LaidOut:
    """An initializer for variables of the mesh: it tells dimensions, and draws late.

    Args:
        initializer: function of `(shape, dtype)`.
        dims: name of each dimension, or `None` for one that is never split; or `None`
            for a value whose layout is told otherwise.
    """

    def __init__(self, initializer, dims=None):
        self.initializer = initializer
        self.dims = dims if dims is None else tuple(dims)

    def __call__(self, shape, dtype=None):
        from keras_switch.partitioning.drawing import drawn

        value = drawn(self.initializer, shape, dtype)
        _state.dims = self.dims
        return value


def laid_out(initializer, dims):
    """Returns an initializer that also tells `dims` if a mesh is entered."""
    return initializer if _state.entered is None else LaidOut(initializer, dims)


@contextlib.contextmanager
def set_to(**values):
    """Sets parts of the thread's state for a while."""
    before = {name: getattr(_state, name) for name in values}
    vars(_state).update(values)
    try:
        yield
    finally:
        vars(_state).update(before)


def constrain(x, *dims):
    """Returns `x`, laid out on the running mesh as the rules say for these dimensions.

    Without a running mesh, and so under every backend but TensorFlow, this is `x`
    itself, and free.

    Args:
        x: tensor.
        *dims: name of each of its dimensions, or `None` for one that is not split. The
            first that wants an axis of the mesh takes it.

    Example:
        >>> x = constrain(x, "batch", "length", "d_model")
    """
    mesh = _state.running
    return x if mesh is None else mesh.constrain(x, dims)


def gathered(weight, dtype=None):
    """Returns a weight as a product with activations takes it, cast if `dtype` says so.

    Split over the axis that splits the batch, as where layouts are fully sharded, it is
    brought together first: otherwise the whole batch would be. Experts stay where they
    are: tokens come to them. Without a running mesh this is the weight, or its cast.

    Args:
        weight: of `layers.base.Layer.add_param`, whose `dims` tell its dimensions.
        dtype: name of a dtype, or `None`: Keras casts by its policy.
    """
    x = weight
    if dtype is not None:
        from keras import ops

        x = ops.cast(weight, dtype)
    mesh = _state.running
    if mesh is None or getattr(weight, "dims", None) is None:
        return x
    axis = mesh.rules.axis_of("batch")
    dims = tuple(
        None if dim != "experts" and mesh.rules.axis_of(dim) == axis else dim
        for dim in weight.dims
    )
    return x if dims == weight.dims else mesh.constrain(x, dims)
