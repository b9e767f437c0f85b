"""A folder that several processes share; here one of them, the others made up."""

import types

import helpers_training as h
import pytest
import tensorflow as tf

from keras_switch.partitioning.clients import Alone
from keras_switch.training.checkpoint_folder import CheckpointFolder
from keras_switch.training.checkpoints import Checkpoints
from keras_switch.training.saving import CheckpointError


class Second(Alone):
    """The second of two processes; the first does and finds what a test says."""

    number, index = 2, 1
    failed = different = False

    def any(self, flag):
        return flag or self.failed

    def differ(self, number):
        return self.different


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".process-0").write_text("")  # the first was here
    return CheckpointFolder(tmp_path, Second())


def test_a_folder_that_is_not_shared_is_told_before_any_step(tmp_path):
    with pytest.raises(CheckpointError, match=r"2 processes .* do not share .*NFS"):
        CheckpointFolder(tmp_path, Second())


def test_a_process_that_is_not_the_first_writes_its_parts_and_no_more(folder):
    (folder.folder / "ckpt-1_temp").mkdir()
    folder.write(1, {"v": tf.Variable(1.0)})
    assert folder.all == []  # the first makes the checkpoint; a variable off the mesh
    assert not [*folder.folder.glob("ckpt-1_temp/*")]  # is the first's to write


def test_an_error_of_another_process_is_one_of_all(folder):
    folder.clients.failed = True
    (folder.folder / "ckpt-1_temp").mkdir()
    with pytest.raises(CheckpointError, match="Another process of this run could not"):
        folder.write(1, {"v": tf.Variable(1.0)})


def test_processes_that_see_different_checkpoints_do_not_go_on(tmp_path):
    Checkpoints(h.dense_model(), model_dir=tmp_path).save(1)
    model = h.dense_model()
    model.mesh = types.SimpleNamespace(clients=Second())
    for name in ("best", "checkpoints"):
        (tmp_path / name / ".process-0").write_text("")
    checkpoints = Checkpoints(model, model_dir=tmp_path)
    assert checkpoints.restore() == 1
    model.mesh.clients.different = True
    with pytest.raises(
        CheckpointError, match=r"different checkpoints .*finds .*ckpt-1"
    ):
        checkpoints.restore()


def test_without_the_position_of_this_process_batches_are_skipped(tmp_path):
    iterator = iter(h.dataset())
    for _ in range(3):
        next(iterator)
    alone = Checkpoints(h.dense_model(), None, iterator, tmp_path)
    alone.save(3)
    expected = next(iterator)[1]
    (tmp_path / "checkpoints" / "ckpt-3.input").rename(tmp_path / "elsewhere")
    fresh = iter(h.dataset())
    Checkpoints(h.dense_model(), None, fresh, tmp_path).restore()
    tf.debugging.assert_equal(next(fresh)[1], expected)
