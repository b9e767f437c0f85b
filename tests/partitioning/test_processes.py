"""Runs of several processes on this machine, as a launcher starts them."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers_runs import assert_same_run, command, records

STEPS = 14
MESH = "--mesh_shape=data:4", "--layout_rules=batch:data,experts:data"
CHANGES = {
    "Sparse.num_experts": 4,
    "TRAIN_STEPS": STEPS,
    "EVAL_EVERY": STEPS,
    "SAVE_EVERY": 4,
}


class Launched:
    """The processes of `keras-switch train` in a folder, each with its output."""

    def __init__(self, folder, number):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        jobs = ",".join(f"localhost:{port}" for port in free_ports(number))
        self.outputs = [self.folder / f"process-{i}.log" for i in range(number)]
        self.processes = [self._start(i, number, jobs) for i in range(number)]

    def _start(self, index, number, jobs):
        variables = {
            "KERAS_BACKEND": "tensorflow",
            "KERAS_SWITCH_VIRTUAL_DEVICES": str(4 // number),
            "PYTHONPATH": str(pathlib.Path(__file__).parent.parent),
        }
        if number > 1:
            variables |= {
                "DTENSOR_JOBS": jobs,
                "DTENSOR_NUM_CLIENTS": str(number),
                "DTENSOR_CLIENT_ID": str(index),
                "DTENSOR_JOB_NAME": "worker",
            }
        words = command(self.folder / "run", *MESH, **CHANGES)
        with self.outputs[index].open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "keras_switch", *words],
                env={**os.environ, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def codes(self, seconds=300):
        """Returns the exit codes; a process that takes longer is an error."""
        end = time.monotonic() + seconds
        try:
            return [p.wait(max(0.1, end - time.monotonic())) for p in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def text(self, index):
        return self.outputs[index].read_text()


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns the folder of the run of one process with four devices."""
    launched = Launched(tmp_path_factory.mktemp("alone"), 1)
    assert launched.codes() == [0], launched.text(0)[-3000:]
    return launched.folder / "run"


@pytest.mark.slow
def test_four_processes_make_the_run_of_one_and_the_first_tells(alone, tmp_path):
    launched = Launched(tmp_path, 4)
    assert launched.codes() == [0] * 4, launched.text(0)[-3000:]
    assert_same_run(tmp_path / "run", alone)
    assert "Mesh data:4 of 4 CPU devices of 4 processes" in launched.text(0)
    for index in range(4):
        assert ("train step" in launched.text(index)) == (index == 0)
    folder = tmp_path / "run" / "checkpoints" / f"ckpt-{STEPS}.input"
    assert len([*folder.glob("*-of-4.index")]) == 4


def wait(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_that_loses_a_process_ends_and_goes_on_with_the_same_command(
    alone, tmp_path
):
    run = tmp_path / "run"
    killed = Launched(tmp_path, 2)
    wait((run / "checkpoints" / "ckpt-4.index").exists)
    killed.processes[1].send_signal(signal.SIGKILL)
    assert killed.codes(90) == [75, -signal.SIGKILL], killed.text(0)[-3000:]
    told = killed.text(0)
    assert "Process 0 of 2 lost another one, which ended or cannot be reached" in told
    assert "is saved. Start all processes again with the same command" in told
    assert "Traceback" not in told

    # The same command goes on. A signal to one process then stops both, at one step.
    stopped = Launched(tmp_path, 2)
    wait(lambda: "Going on from step" in stopped.text(0))
    wait(lambda: stopped.text(0).count("train step") > 2)
    stopped.processes[1].send_signal(signal.SIGTERM)
    assert stopped.codes() == [130, 130], stopped.text(0)[-3000:]
    assert "Stopped after step" in stopped.text(0)
    assert records(run)[-1]["step"] < STEPS

    # One process goes on where two stopped, and ends where one would have ended.
    last = Launched(tmp_path, 1)
    assert last.codes() == [0], last.text(0)[-3000:]
    assert_same_run(run, alone)
