"""`distill` as a user types it, on a task of a few bytes."""

import numpy as np
import pytest
from helpers_partitioning import on_devices
from helpers_runs import VALUES, assert_same_run, command, records, saved_run

from keras_switch import training
from keras_switch.cli.__main__ import main

SHARED = {
    name: value
    for name, value in VALUES.items()
    if not name.startswith(("Sparse", "Switch"))
} | {"TRAIN_STEPS": 2, "SAVE_EVERY": 1}
STUDENT = "--gin_file=models/t5_tiny.gin"


def distill(teacher, folder, *flags, **changes):
    flags = [STUDENT, f"--teacher={teacher}", *flags]
    return main(command(folder, *flags, word="distill", **SHARED | changes))


def cached(teacher, **changes):
    names = ("MODULES", "TASK", "LENGTHS", "BATCH_SIZE")
    values = {name: VALUES[name] for name in names} | {"DataConfig.pack": False}
    values = [f"--gin.{name}={value}" for name, value in (values | changes).items()]
    return main(["cache-logits", f"--teacher={teacher}", *values])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Returns the folder of a run."""
    return saved_run(tmp_path_factory.mktemp("teacher"))


def weights(folder):
    model, _ = training.load_run(folder)
    return {v.path: v.numpy() for v in model.weights}


def test_a_dense_student_learns_from_a_run(teacher, tmp_path, capsys):
    assert distill(teacher, tmp_path, **{"distill.evaluation": None}) == 0
    told = capsys.readouterr().out
    assert "weights of the student are the teacher's" in told
    assert "fresh: encoder/block_0/mlp/wi" in told
    values = [r["values"] for r in records(tmp_path) if r["split"] == "train"]
    assert len(values) == 2
    for one in values:
        wanted = 0.75 * one["cross_entropy"] + 0.25 * one["soft_loss"]
        assert one["loss"] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_a_run_that_was_stopped_is_the_one_that_was_not_and_is_evaluated(
    teacher, tmp_path
):
    run, straight = tmp_path / "run", tmp_path / "straight"
    alone = {"distill.evaluation": None}
    assert distill(teacher, straight, **alone) == 0
    for steps in (1, 2):
        assert distill(teacher, run, TRAIN_STEPS=steps, **alone) == 0
    found = weights(run)
    for path, value in weights(straight).items():
        np.testing.assert_array_equal(value, found[path])
    # A folder as any other: `eval` takes it.
    assert main(command(run, "--gin.EVAL_STEPS=1", word="eval")) == 0


@pytest.mark.slow
def test_a_student_learns_from_cached_logits(teacher, tmp_path, capsys):
    cache, folder = tmp_path / "cache", tmp_path / "run"
    asked = {"CACHE": cache, "TOP_K": 8, "CACHE_STEPS": 2}
    assert cached(teacher, **asked) == 0
    assert "8 rows of toy_copy train, the 8 greatest logits" in capsys.readouterr().out
    assert cached(teacher, **asked) == 2
    assert "has a split 'train' already" in capsys.readouterr().err
    assert cached(cache, **asked) == 2
    assert "holds a teacher's logits already" in capsys.readouterr().err
    assert distill(cache, folder, INITIALIZE=None, TRAIN_STEPS=1) == 0
    assert records(folder)[0]["values"]["soft_loss"] > 0
    assert distill(cache, tmp_path / "other", TRAIN_STEPS=1) == 2
    assert "is cached logits: it has no weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ModelConfig.vocab_size": 512}, "teacher scores 384 words and the student"),
        ({"SOFT_WEIGHT": 0.0}, "give a share above 0"),
        ({"TEACHER": "'nowhere'"}, "There is nothing at 'nowhere'"),
    ],
)
def test_a_mistake_is_one_message_before_the_first_step(
    teacher, tmp_path, capsys, changes, says
):
    who = changes.pop("TEACHER", f"{teacher}").strip("'")
    assert distill(who, tmp_path / "run", **changes) == 2
    assert says in capsys.readouterr().err
    assert not [*(tmp_path / "run").glob("checkpoints/*.index")]


@on_devices
def check_on_meshes(teacher, folder):
    alone, spread = f"{folder}/alone", f"{folder}/spread"
    assert distill(teacher, alone) == 0
    own = {"TEACHER_MESH_SHAPE": "'data:2'", "TEACHER_LAYOUT_RULES": "'experts:data'"}
    flags = ["--mesh_shape=data:2,model:2", "--layout_rules=batch:data,d_ff:model"]
    assert distill(teacher, spread, *flags, **own) == 0
    assert_same_run(spread, alone)


@pytest.mark.slow
def test_teacher_and_student_on_meshes_of_their_own_make_the_same_run(
    teacher, tmp_path
):
    check_on_meshes(teacher=str(teacher), folder=str(tmp_path))
