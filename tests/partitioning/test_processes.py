"""Runs of several processes on this machine, as a launcher starts them."""

import json
import signal

import numpy as np
import pytest
from helpers_processes import Launched, wait
from helpers_runs import assert_same_run, command, records

STEPS = 14
MESH = "--mesh_shape=data:4", "--layout_rules=batch:data,experts:data"
CHANGES = {
    "Sparse.num_experts": 4,
    "TRAIN_STEPS": STEPS,
    "EVAL_EVERY": STEPS,
    "SAVE_EVERY": 4,
}


def launched(folder, number):
    """Starts `keras-switch train` with its run in a folder."""
    words = command(folder / "run", *MESH, **CHANGES)
    return Launched(folder, number, ["-m", "keras_switch", *words])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns the folder of the run of one process with four devices."""
    folder = tmp_path_factory.mktemp("alone")
    one = launched(folder, 1)
    assert one.codes() == [0], one.text(0)[-3000:]
    return folder / "run"


@pytest.mark.slow
def test_four_processes_make_the_run_of_one_and_the_first_tells(alone, tmp_path):
    four = launched(tmp_path, 4)
    assert four.codes() == [0] * 4, four.text(0)[-3000:]
    assert_same_run(tmp_path / "run", alone)
    assert "Mesh data:4 of 4 CPU devices of 4 processes" in four.text(0)
    for index in range(4):
        assert ("train step" in four.text(index)) == (index == 0)
    folder = tmp_path / "run" / "checkpoints" / f"ckpt-{STEPS}.input"
    assert len([*folder.glob("*-of-4.index")]) == 4


LOST = "lost another one, which ended or cannot be reached"


@pytest.mark.slow
def test_a_run_that_loses_a_process_ends_and_goes_on_with_the_same_command(
    alone, tmp_path
):
    run = tmp_path / "run"
    two = launched(tmp_path, 2)
    wait((run / "checkpoints" / "ckpt-4.index").exists)
    two.processes[1].send_signal(signal.SIGKILL)
    assert two.codes(90) == [75, -signal.SIGKILL], two.text(0)[-3000:]
    told = two.text(0)
    assert f"Process 0 of 2 {LOST}" in told
    assert "is saved. Start all processes again with the same command" in told
    assert "Traceback" not in told

    # One process goes on where two stopped, until it is asked to stop.
    one = launched(tmp_path, 1)
    wait(lambda: one.text(0).count("train step") > 1)
    one.processes[0].send_signal(signal.SIGTERM)
    assert one.codes() == [130], one.text(0)[-3000:]
    assert "Going on from step" in one.text(0)
    stopped = records(run)[-1]["step"]
    assert stopped < STEPS

    # Four go on where one stopped, and end where one would have ended.
    four = launched(tmp_path, 4)
    assert four.codes() == [0] * 4, four.text(0)[-3000:]
    assert f"Going on from step {stopped}" in four.text(0)
    assert_same_run(run, alone)


@pytest.mark.slow
def test_a_frozen_first_process_ends_the_others_and_a_signal_to_one_stops_all(tmp_path):
    run = tmp_path / "run"
    two = launched(tmp_path, 2)
    wait((run / "checkpoints" / "ckpt-4.index").exists)
    two.processes[0].send_signal(signal.SIGSTOP)
    try:
        assert two.processes[1].wait(60) == 75
    finally:
        two.kill()
    assert f"Process 1 of 2 {LOST}" in two.text(1)
    assert "Traceback" not in two.text(1)

    # The same command goes on. A signal to one process stops both, at one step.
    again = launched(tmp_path, 2)
    wait(lambda: again.text(0).count("train step") > 1)
    again.processes[1].send_signal(signal.SIGTERM)
    assert again.codes() == [130, 130], again.text(0)[-3000:]
    assert "Going on from step" in again.text(0)
    assert "Stopped after step" in again.text(0)


@pytest.mark.slow
def test_fit_and_generate_on_two_processes_are_those_of_one(tmp_path):
    runs = [Launched(tmp_path, n, ["-m", "helpers_fit", str(tmp_path)]) for n in (1, 2)]
    for launch in runs:
        codes = launch.codes()
        assert not any(codes), launch.text(len(codes) - 1)[-3000:]
    one = np.load(tmp_path / "0-of-1.npz")
    two = [np.load(tmp_path / f"{i}-of-2.npz") for i in range(2)]
    for found in two:
        told = [json.loads(str(each["told"])) for each in (found, one)]
        for a, b in zip(*told, strict=True):
            assert a == {name: pytest.approx(b[name], abs=1e-5) for name in b}
        np.testing.assert_allclose(found["evaluated"], one["evaluated"], atol=1e-5)
        for name in one.files:
            if name.startswith("weight"):
                np.testing.assert_allclose(found[name], one[name], atol=1e-5)
    # Every process gets the predictions of its own rows.
    halves = [f["predicted"].reshape(2, 4, *f["predicted"].shape[1:]) for f in two]
    together = np.concatenate(halves, axis=1).reshape(one["predicted"].shape)
    np.testing.assert_allclose(together, one["predicted"], atol=1e-5)
    # And what is written for them.
    for name in ("tokens", "scores"):
        found = np.concatenate([each[name] for each in two])
        np.testing.assert_allclose(found, one[name], atol=1e-5)
    # The first process alone shows progress.
    assert [("Epoch 2/2" in runs[1].text(i)) for i in range(2)] == [True, False]
    check_refusals(*(json.loads(str(found["said"])) for found in two))


def check_refusals(first, second):
    for said in (first, second):
        assert "keras.utils.set_random_seed with the same number in all" in said[0]
        assert "the seeds of their TopKSampler differ" in said[1]
        assert "use keras_switch.training.train (or `keras-switch train`)" in said[2]
        assert "different numbers of batches, this one" in said[-1]
    assert "give it to the first one alone (callbacks=[...] if" in second[3]
    assert (len(first), len(second)) == (4, 5)
