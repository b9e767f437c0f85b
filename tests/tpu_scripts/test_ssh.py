"""Hosts by ssh: installation, quoting, death of a worker, hosts that do not answer."""

import json
import signal

import helpers_tpu_scripts as helpers
import pytest

TELL = """
import json, os, sys
clients = {k: v for k, v in os.environ.items() if k.startswith("DTENSOR")}
print(json.dumps([clients, os.getcwd(), sys.argv[1:]]))
"""
# The second host is lost in the first run: its worker ends, and so does ssh.
LOST = """
import os, pathlib, sys, time
down = pathlib.Path(os.environ["FAKE"]) / "down"
runs = pathlib.Path("runs")
runs.write_text(runs.read_text() + "+" if runs.exists() else "+")
if os.environ["DTENSOR_CLIENT_ID"] == "1" and runs.read_text() == "+":
    down.mkdir()
    (down / "me@b").touch()
    sys.exit(1)
"""


def launch(machines, verb, *words, **settings):
    settings = {
        "backend": "ssh",
        "hosts": "a,me@b",
        "install": machines.wheel,
    } | settings
    machines.environment.setdefault("USER", "me")
    return machines.launch(verb, *words, **settings)


@pytest.fixture
def ready(tmp_path):
    """Returns a function to machines on which a program is installed."""

    def make(program):
        machines = helpers.Machines(tmp_path, program)
        done = launch(machines, "setup", setup_command="echo $HOME >mounted; pwd")
        assert done.returncode == 0, done.stderr
        return machines

    return make


def train(machines, *words, **settings):
    return launch(machines, "train", "--", *words, "--model_dir=/m", **settings)


def test_setup_installs_on_every_host_and_runs_the_own_command(ready):
    machines = ready(TELL)
    for host in ("a", "me@b"):
        folder = machines.folder / "machines" / host / "keras_switch" / "pod"
        assert (folder / "env" / "bin" / "keras-switch").exists()
        assert (folder / "mounted").read_text().strip() == str(folder.parent.parent)
    pip = ["pip", "install", "--python", "env/bin/python"]
    one_host = [
        ["--version"],
        ["venv", "--python", ">=3.11,<3.14", "env"],
        [*pip, "./keras_switch-9-py3-none-any.whl[t5]"],
        [*pip, "--no-deps", "t5==0.9.4"],
        [*pip, "tensorflow[and-cuda]"],
    ]
    assert sorted(machines.calls("uv")) == sorted(one_host * 2)


def test_an_installation_that_fails_is_told_with_its_host(ready):
    machines = ready(TELL)
    (machines.folder / "uv_fails").write_text("1\n2\n3\n4\n")
    done = launch(machines, "setup")
    assert done.returncode == 2
    assert "that was worker 1, on me@b" in done.stderr
    assert "the installation failed; its messages stand above" in done.stderr


def test_arguments_reach_the_workers_as_they_were_given(ready):
    machines = ready(TELL)
    done = train(machines, *helpers.NASTY, environment="DTENSOR_A=1")
    assert done.returncode == 0, done.stderr
    launch(machines, "logs")
    for i, host in enumerate(("a", "me@b")):
        clients, folder, arguments = json.loads(machines.log(i).splitlines()[-1])
        assert arguments == ["train", *helpers.NASTY, "--model_dir=/m"]
        assert clients["DTENSOR_CLIENT_ID"] == str(i)
        assert clients["DTENSOR_JOBS"] == "a:23410,b:23410"
        assert clients["DTENSOR_A"] == "1"
        assert folder.endswith(f"machines/{host}/keras_switch/pod")


def test_when_a_worker_dies_its_log_is_fetched_and_the_others_are_stopped(ready):
    machines = ready(
        "import os, sys, time\n"
        "if os.environ['DTENSOR_CLIENT_ID'] == '1':\n    sys.exit('out of memory')\n"
        "time.sleep(100)"
    )
    done = train(machines)
    assert done.returncode == 1
    assert "worker 1 died with exit code 1; stopping the others" in done.stderr
    assert "out of memory" in done.stderr
    assert machines.log(1).endswith("out of memory\n")
    assert "worker 0 exit 143" in launch(machines, "status").stdout


def test_training_without_setup_says_so(tmp_path):
    done = train(helpers.Machines(tmp_path))
    assert done.returncode == 1
    assert (
        "a worker could not be started; 'setup' installs what it needs" in done.stderr
    )


def test_ctrl_c_leaves_the_workers_of_other_machines_alone(ready):
    machines = ready("import time\nprint('step 1', flush=True)\ntime.sleep(100)")
    how = {"backend": "ssh", "hosts": "a,me@b", "poll_seconds": 1}
    running = machines.start("train", "--", "--model_dir=/m", **how)
    assert any("step 1" in line for line in running.stderr)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "training goes on: resume follows it, stop ends it" in said
    assert launch(machines, "status").stdout.count("running: step 1") == 2
    assert launch(machines, "stop").returncode == 0


def test_a_lost_host_ends_train_with_a_code_of_its_own(ready):
    machines = ready(LOST)
    done = train(machines)
    assert done.returncode == 75
    assert "'resume' with the same arguments goes on from" in done.stderr


def test_resume_waits_for_a_lost_host_and_starts_all_again(ready):
    machines = ready(LOST)
    # The host answers again while the launch waits for it.
    machines.environment["PATH"] = f"{machines.folder}:{machines.environment['PATH']}"
    sleep = machines.folder / "sleep"
    sleep.write_text('#!/bin/sh\n[ "$1" != 3 ] || rm -f "$FAKE/down/me@b"\n')
    sleep.chmod(0o755)
    words = ["--", "--model_dir=/m"]
    done = launch(machines, "resume", *words, restart_wait=3)
    assert done.returncode == 0, done.stderr
    assert "restart 1 of at most 10" in done.stderr
    runs = machines.folder / "machines" / "a" / "keras_switch" / "pod" / "runs"
    assert runs.read_text() == "++"


def test_delete_stops_the_workers_and_removes_the_installation(ready):
    machines = ready(TELL)
    assert train(machines).returncode == 0
    assert launch(machines, "delete").returncode == 0
    folder = machines.folder / "machines" / "a" / "keras_switch" / "pod"
    assert not (folder / "env").exists() and not (folder / "worker.sh").exists()
    assert (folder / "worker-0.log").exists()


def test_create_tells_hosts_that_do_not_answer(tmp_path):
    machines = helpers.Machines(tmp_path)
    (tmp_path / "down").mkdir()
    (tmp_path / "down" / "a").touch()
    done = launch(machines, "create")
    assert done.returncode == 2
    assert "some of a,me@b do not answer" in done.stderr
