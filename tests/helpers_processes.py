"""Processes of one run on this machine, as a launcher starts them."""

import os
import pathlib
import socket
import subprocess
import sys
import time

DEVICES = 4  # of all processes together
ROOT = pathlib.Path(__file__).parent


class Launched:
    """Processes that share a mesh of four devices, each with its output.

    Args:
        folder: for their outputs.
        number: of processes.
        words: of the command line, after `python`.
    """

    def __init__(self, folder, number, words):
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        jobs = ",".join(f"localhost:{port}" for port in free_ports(number))
        self.outputs = [folder / f"process-{i}-of-{number}.log" for i in range(number)]
        self.processes = [
            _started(words, output, _variables(i, number, jobs))
            for i, output in enumerate(self.outputs)
        ]

    def codes(self, seconds=300):
        """Returns the exit codes; a process that takes longer is an error."""
        end = time.monotonic() + seconds
        try:
            return [p.wait(max(0.1, end - time.monotonic())) for p in self.processes]
        finally:
            self.kill()

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()

    def text(self, index):
        return self.outputs[index].read_text()


def _started(words, output, variables):
    with output.open("w") as file:
        return subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, **variables},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _variables(index, number, jobs):
    variables = {
        "KERAS_BACKEND": "tensorflow",
        "KERAS_SWITCH_VIRTUAL_DEVICES": str(DEVICES // number),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT.parent, ROOT))),
    }
    if number > 1:
        variables |= {
            "DTENSOR_JOBS": jobs,
            "DTENSOR_NUM_CLIENTS": str(number),
            "DTENSOR_CLIENT_ID": str(index),
            "DTENSOR_JOB_NAME": "worker",
        }
    return variables


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
