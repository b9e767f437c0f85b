"""The processes that share a mesh: which one this is, what it feeds, what all agree on.

TensorFlow calls them clients, and tells them apart by variables of the environment:
`DTENSOR_CLIENT_ID` and `DTENSOR_JOBS`, one `host:port` for each, separated by commas.
"""

import contextlib
import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning.transfer import full, packed, places


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of the rows of every batch a process feeds.

    Args:
        index: number of the part, from 0.
        of: number of parts. Several processes feed the same part where their devices
            hold the same rows.
    """

    index: int = 0
    of: int = 1


class ProcessLost(RuntimeError):
    """Another process of the run ended, or cannot be reached any more."""


# What TensorFlow says then; its own word for what comes after is "cancelled".
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Alone:
    """One process that has all devices, or needs no mesh."""

    number, index = 1, 0
    share = Share()

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes what all have in common."""
        return self.index == 0

    def any(self, flag) -> bool:
        """Returns whether the flag of any process is true; all must call this."""
        return bool(flag)

    def poll(self, flag) -> bool:
        """Like `any`, but nobody waits: the answer may be of the call before."""
        return bool(flag)

    def differ(self, number) -> bool:
        """Returns whether the processes have different numbers; all must call this."""
        return False

    def watched(self):
        """Returns a context in which the end of another process is a `ProcessLost`."""
        return contextlib.nullcontext()


ALONE = Alone()


class Together(Alone):
    """Processes that each have the same number of the devices of a mesh.

    Args:
        mesh: `dtensor.Mesh`.
        batch_axis: axis that splits batches, or `None`.
    """

    def __init__(self, mesh, batch_axis=None):
        self.number, self.index = dtensor.num_clients(), dtensor.client_id()
        self.share = share(mesh, batch_axis)
        self._mesh = mesh
        self._most = tf.function(tf.reduce_max, autograph=False)
        self._polled = None

    def any(self, flag):
        return bool(self._greatest(flag))

    def poll(self, flag):
        with self.watched():
            before, self._polled = self._polled, self._sent(flag)
            answer = before is not None and bool(full(before))
        if answer:
            self._polled = None  # it has been heard: not again in another run
        return answer

    def differ(self, number):
        return self._greatest(number) != -self._greatest(-number)

    @contextlib.contextmanager
    def watched(self):
        try:
            yield
        except _LOST as error:
            raise ProcessLost(
                f"Process {self.index} of {self.number} lost another one, which ended "
                f"or cannot be reached ({error.message.strip().splitlines()[0]}). Its "
                "own messages may say why."
            ) from error

    def _greatest(self, number):
        with self.watched():
            return float(full(self._sent(number)))

    def _sent(self, number):
        """Returns the greatest number of all, still on its way."""
        names = self._mesh.dim_names
        part = np.full([1] * len(names), number, "float32")
        parts = [part] * self._mesh.num_local_devices()
        flags = packed(parts, dtensor.Layout(names, self._mesh))
        with dtensor.default_mesh(self._mesh):
            return self._most(flags)


def clients_of(model):
    """Returns the processes that train a model: those of its mesh, or this one."""
    return clients_on(getattr(model, "mesh", None))


def clients_on(mesh):
    """Returns the processes that share a `Mesh`; this one alone if it is `None`."""
    return ALONE if mesh is None else mesh.clients


def sharing(mesh, batch_axis):
    """Returns the processes of a `dtensor.Mesh`: `Alone` or `Together`."""
    return Together(mesh, batch_axis) if dtensor.num_clients() > 1 else ALONE


def share(mesh, axis):
    """Returns the `Share` of the rows that the devices of this process hold.

    Where the processes' devices do not hold equal, neighbouring parts, every process
    feeds the whole batch.
    """
    if axis is None:
        return Share()
    found, each = places(mesh), mesh.num_local_devices()
    held = [
        sorted({place[axis] for place in found[first : first + each]})
        for first in range(0, mesh.size, each)
    ]
    width = len(held[0])
    if any(h != [*range(h[0], h[0] + width)] or h[0] % width for h in held):
        return Share()
    mine = mesh.local_device_locations()[0][axis]
    return Share(mine // width, mesh.dim_size(axis) // width)
