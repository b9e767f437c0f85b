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


_state = _State()


def entered():
    """Returns the `Mesh` of the innermost `with mesh:`, or `None`."""
    return _state.entered


def running():
    """Returns the `Mesh` on which this code is being traced or run, or `None`."""
    return _state.running


@contextlib.contextmanager
def set_to(**values):
    """Sets `entered` or `running` for a while."""
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
