import numpy as np
import pytest
import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning.clients import ALONE, ProcessLost, Share, share


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
    assert issubclass(ProcessLost, RuntimeError)
