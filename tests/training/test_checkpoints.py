import dataclasses
import json

import helpers_training as h
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_switch.training.adafactor import Adafactor
from keras_switch.training.checkpoints import Checkpoints
from keras_switch.training.saving import CheckpointError


@dataclasses.dataclass(frozen=True)
class Part:
    size: int = 3


@dataclasses.dataclass(frozen=True)
class Config:
    d_model: int = 4
    part: Part = Part()
    names: tuple = ("a", "b")


def made(model_dir, model=None, **kwargs):
    model = model or h.dense_model()
    optimizer = Adafactor(0.1)
    optimizer.build(model.trainable_variables)
    return model, optimizer, Checkpoints(model, optimizer, None, model_dir, **kwargs)


def test_weights_slots_and_step_come_back_in_a_model_made_anew(tmp_path):
    model, optimizer, checkpoints = made(tmp_path)
    optimizer.apply([tf.ones(w.shape) for w in model.trainable_weights])
    checkpoints.save(7)
    other, other_optimizer, restored = made(tmp_path)  # Keras numbers its names on
    assert restored.restore() == 7
    assert int(other_optimizer.iterations) == 1
    pairs = [*zip(model.weights, other.weights, strict=True)]
    pairs += zip(optimizer.variables, other_optimizer.variables, strict=True)
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


def test_weights_alone_can_be_restored_without_the_optimizer(tmp_path):
    model, _, checkpoints = made(tmp_path)
    path = checkpoints.save(3)
    other = h.dense_model()
    assert Checkpoints(other, model_dir=tmp_path).restore(path) == 3
    np.testing.assert_array_equal(other.weights[0], model.weights[0])


def test_without_a_checkpoint_a_run_starts_at_step_0(tmp_path):
    assert made(tmp_path)[2].restore() == 0


def test_a_constant_learning_rate_is_the_new_runs_to_choose(tmp_path):
    made(tmp_path)[2].save(1)
    model, optimizer = h.dense_model(), Adafactor(0.5)
    optimizer.build(model.trainable_variables)
    Checkpoints(model, optimizer, None, tmp_path).restore()
    assert float(optimizer.learning_rate) == 0.5


def test_the_last_ones_are_kept_and_the_best_besides(tmp_path):
    model, _, checkpoints = made(tmp_path, keep=2)
    for step, loss in enumerate([3.0, 1.0, 2.0], 1):
        model.weights[0].assign(tf.fill(model.weights[0].shape, float(step)))
        checkpoints.save(step)
        assert (checkpoints.save_best(step, loss) is not None) == (loss != 2.0)
    assert [path.split("-")[-1] for path in checkpoints.all] == ["2", "3"]
    assert checkpoints.restore_best() == 2
    assert float(model.weights[0][0, 0]) == 2.0


def test_a_resumed_run_still_knows_the_best_value(tmp_path):
    _, _, checkpoints = made(tmp_path)
    checkpoints.save_best(1, 0.5)
    checkpoints.save(1)
    _, _, again = made(tmp_path)
    again.restore()
    assert again.save_best(2, 0.7) is None


def test_asking_for_a_best_that_was_never_saved_says_how_to_get_one(tmp_path):
    with pytest.raises(CheckpointError, match="evaluation data and `eval_every`"):
        made(tmp_path)[2].restore_best()


def test_another_configuration_is_refused_field_by_field(tmp_path):
    made(tmp_path, config=Config())[2].save(1)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["part"] == {"class": "Part", "size": 3}
    _, _, same = made(tmp_path, config=Config())
    assert same.restore() == 1
    other = Config(d_model=8, part=Part(5), names=("a", "b", "c"))
    _, _, checkpoints = made(tmp_path, config=other)
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore()
    assert "d_model: 4 in the checkpoint, 8 in this run" in str(error.value)
    assert "part.size: 3 in the checkpoint, 5 in this run" in str(error.value)
    assert "names.2: absent in the checkpoint, 'c' in this run" in str(error.value)
    assert "names.0" not in str(error.value)


def test_another_model_is_refused_even_without_a_configuration(tmp_path):
    made(tmp_path)[2].save(1)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    _, _, checkpoints = made(tmp_path, other)
    with pytest.raises(CheckpointError, match=r"missing.*in the checkpoint"):
        checkpoints.restore()


def test_a_file_in_place_of_the_folder_is_told_before_any_step(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(CheckpointError, match=r"Cannot save in .*choose another"):
        made(tmp_path / "runs")


STAGES = ("SaveV2", "MergeV2Checkpoints")


def saved_halfway(monkeypatch, checkpoints, stage, error):
    """Saves step 2 with an error in the middle of a stage."""
    folder = checkpoints.model_dir / "checkpoints"
    done = getattr(tf.raw_ops, stage)

    def half(**arguments):
        done(**arguments)
        (folder / "ckpt-2.data-00000-of-00001").write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tf.raw_ops, stage, half)
        checkpoints.save(2)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
    ],
)
def test_a_full_disk_leaves_the_earlier_checkpoint_intact(
    tmp_path, monkeypatch, stage, error
):
    model, _, checkpoints = made(tmp_path)
    model.weights[0].assign(tf.ones(model.weights[0].shape))
    checkpoints.save(1)
    model.weights[0].assign(tf.zeros(model.weights[0].shape))
    with pytest.raises(CheckpointError, match=r"No space left.*ckpt-1 is intact"):
        saved_halfway(monkeypatch, checkpoints, stage, error)
    assert not list((tmp_path / "checkpoints").glob("ckpt-2*"))
    assert checkpoints.restore() == 1
    assert float(model.weights[0][0, 0]) == 1.0
    checkpoints.save(2)  # and once there is room, it goes on


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_that_was_killed_halfway_is_none(tmp_path, monkeypatch, stage):
    _, _, checkpoints = made(tmp_path)
    checkpoints.save(1)
    with pytest.raises(SystemExit):
        saved_halfway(monkeypatch, checkpoints, stage, SystemExit())
    folder = tmp_path / "checkpoints"
    assert list(folder.glob("ckpt-2_temp"))
    _, _, again = made(tmp_path)
    assert again.restore() == 1
    again.save(3)  # which clears away what is left of the other
    names = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert names == {"ckpt-1", "ckpt-3"}


def test_a_checkpoint_of_another_dtype_is_refused(tmp_path):
    made(tmp_path)[2].save(1)
    _, _, checkpoints = made(tmp_path, h.dense_model("bfloat16"))
    with pytest.raises(CheckpointError, match=r"float32\(7, 4\) in .* bfloat16\(7, 4"):
        checkpoints.restore()


def test_the_position_in_the_data_is_saved(tmp_path):
    model = h.dense_model()
    iterator = iter(h.dataset())
    for _ in range(3):
        next(iterator)
    Checkpoints(model, None, iterator, tmp_path).save(3)
    expected = next(iterator)[1]
    fresh = iter(h.dataset())
    Checkpoints(model, None, fresh, tmp_path).restore()
    np.testing.assert_array_equal(next(fresh)[1], expected)


def test_data_whose_position_cannot_be_saved_is_skipped_to_it(tmp_path):
    def data():
        python = tf.data.Dataset.from_generator(
            lambda: iter(range(10)), output_signature=tf.TensorSpec((), tf.int32)
        )
        return iter(python)

    model = h.dense_model()
    iterator = data()
    checkpoints = Checkpoints(model, None, iterator, tmp_path)
    assert [int(next(iterator)) for _ in range(4)] == [0, 1, 2, 3]
    checkpoints.save(4)
    fresh = data()
    assert Checkpoints(model, None, fresh, tmp_path).restore() == 4
    assert int(next(fresh)) == 4
