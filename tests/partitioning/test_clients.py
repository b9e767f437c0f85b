import numpy as np
import pytest
import tensorflow as tf
from helpers_partitioning import on_devices
from tensorflow.experimental import dtensor

from keras_switch.partitioning import Mesh
from keras_switch.partitioning.clients import (
    ALONE,
    Alone,
    ProcessLost,
    Share,
    Together,
    share,
)


def mesh_of(client, each, **axes):
    """Returns the mesh as one of several processes sees it; needs no devices."""
    size = int(np.prod([*axes.values()]))
    names = [f"/job:worker/task:{client}/device:CPU:{i}" for i in range(each)]
    return dtensor.Mesh(
        [*axes],
        np.arange(size).reshape([*axes.values()]),
        [*range(client * each, (client + 1) * each)],
        [tf.DeviceSpec.from_string(name) for name in names],
    )


@pytest.mark.parametrize(
    ("client", "each", "axes", "wanted"),
    [
        (1, 4, {"data": 8}, Share(1, 2)),
        (1, 4, {"data": 4, "model": 2}, Share(1, 2)),
        # Two processes have the same rows, then all have.
        (1, 2, {"data": 2, "model": 4}, Share(0, 2)),
        (3, 2, {"data": 2, "model": 4}, Share(1, 2)),
        (1, 4, {"model": 2, "data": 4}, Share(0, 1)),
        (3, 2, {"model": 2, "data": 4}, Share(1, 2)),
        # Parts of different sizes: all feed everything.
        (1, 3, {"other": 3, "data": 4}, Share(0, 1)),
    ],
)
def test_a_process_feeds_the_rows_that_its_devices_hold(client, each, axes, wanted):
    assert share(mesh_of(client, each, **axes), "data") == wanted
    assert share(mesh_of(client, each, **axes), None) == Share(0, 1)


def test_one_process_agrees_with_itself():
    assert ALONE.is_first
    assert ALONE.any(True) and ALONE.poll(1) and not ALONE.any(0)
    assert not ALONE.differ(3)
    with pytest.raises(tf.errors.UnavailableError), ALONE.watched():
        raise tf.errors.UnavailableError(None, None, "no other process is to blame")


def test_the_end_of_another_process_is_told_as_such():
    together = Together.__new__(Together)
    together.number, together.index = 2, 1
    for error in (tf.errors.UnavailableError, tf.errors.CancelledError):
        lost = pytest.raises(ProcessLost, match=r"1 of 2 lost .* \(socket closed\)")
        with lost, together.watched():
            raise error(None, None, "socket closed\nsomewhere")
    with pytest.raises(tf.errors.ResourceExhaustedError), together.watched():
        raise tf.errors.ResourceExhaustedError(None, None, "its own fault")


@on_devices
def test_rows_that_processes_cannot_share_evenly_are_an_error():
    from keras_switch.partitioning.traced import split

    class Half(Alone):
        share = Share(0, 2)

    mesh = Mesh("data:4", "batch:data")
    mesh.clients = Half()
    with pytest.raises(ValueError, match=r"2 processes feed 3 rows.*multiple of 2"):
        split(mesh, np.ones((3, 2)))


@on_devices
def test_processes_with_different_random_states_are_refused_before_a_weight_is_made():
    class Different(Alone):
        number = 2

        def differ(self, number):
            return self.different

    mesh = Mesh("data:2", "batch:data")
    mesh.clients, Different.different = Different(), True
    with pytest.raises(ValueError, match=r"2 processes .*set_random_seed"), mesh:
        raise AssertionError("entered")
    Different.different = False
    with mesh:
        pass
