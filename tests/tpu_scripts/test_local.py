"""Real processes on this machine."""

import json
import signal
import time

import helpers_tpu_scripts as helpers

TELL = """
import json, os, sys
kept = {k: v for k, v in os.environ.items() if k.startswith(("DTENSOR", "KERAS_SW"))}
print(json.dumps([kept, sys.argv[1:]]))
"""
# Worker 1 dies at once, the other would go on for long.
DIE = """
import os, sys, time
if os.environ["DTENSOR_CLIENT_ID"] == "1":
    sys.exit("no such expert")
time.sleep(100)
"""
# Ends as keras-switch does: a signal lets it save and leave.
SAVE = """
import signal, sys, time
def save(*_):
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
print("step 1", flush=True)
time.sleep(100)
"""


def launch(machines, verb, *words, **settings):
    program = {"program": machines.program, "backend": "local"}
    return machines.launch(verb, *words, **program, **settings)


def training(machines, **settings):
    return launch(machines, "train", "--", "--model_dir=m", **settings)


def test_every_process_gets_the_same_command_and_its_own_number(tmp_path):
    machines = helpers.Machines(tmp_path, TELL)
    words = [*helpers.NASTY, "--model_dir=m"]
    done = launch(
        machines, "train", "--", *words, port=5000, workers=2, virtual_devices=3
    )
    assert done.returncode == 0, done.stderr
    assert "all workers have ended well" in done.stderr
    for i in range(2):
        environment, arguments = json.loads(machines.log(i).splitlines()[-1])
        assert arguments == ["train", *words]
        assert environment == {
            "DTENSOR_CLIENT_ID": str(i),
            "DTENSOR_NUM_CLIENTS": "2",
            "DTENSOR_JOBS": "localhost:5000,localhost:5001",
            "DTENSOR_JOB_NAME": "worker",
            "KERAS_SWITCH_VIRTUAL_DEVICES": "3",
        }


def test_one_process_alone_is_no_client_of_a_cluster(tmp_path):
    machines = helpers.Machines(tmp_path, TELL)
    assert training(machines, workers=1).returncode == 0
    environment, _ = json.loads(machines.log(0).splitlines()[-1])
    assert "DTENSOR_JOBS" not in environment
    assert "DTENSOR_NUM_CLIENTS" not in environment


def test_when_one_dies_the_others_are_stopped_and_the_message_says_who(tmp_path):
    machines = helpers.Machines(tmp_path, DIE)
    done = training(machines, workers=3)
    assert done.returncode == 1
    assert "worker 1 died with exit code 1; stopping the others" in done.stderr
    assert "no such expert" in done.stderr
    assert f"are the end of its log, {machines.log_dir}/worker-1.log" in done.stderr
    states = launch(machines, "status", workers=3).stdout
    assert "worker 0 exit 143" in states and "worker 2 exit 143" in states


def test_the_first_to_die_is_named_not_those_it_pulled_down(tmp_path):
    pulled = "if i == '0':\n    time.sleep(0.5)\nsys.exit(5 if i == '1' else 1)"
    machines = helpers.Machines(
        tmp_path, f"import os, sys, time\ni = os.environ['DTENSOR_CLIENT_ID']\n{pulled}"
    )
    # Looked at once after both have ended.
    command = {"program": machines.program, "backend": "local", "poll_seconds": 2}
    done = machines.launch("train", "--", "--model_dir=m", **command)
    assert "worker 1 died with exit code 5" in done.stderr


def test_a_worker_that_lost_another_is_not_blamed(tmp_path):
    lost = (
        "import os, sys\nsys.exit(75 if os.environ['DTENSOR_CLIENT_ID'] == '0' else 9)"
    )
    done = training(helpers.Machines(tmp_path, lost), poll_seconds=1)
    assert done.returncode == 1
    assert "worker 1 died with exit code 9" in done.stderr


def test_workers_that_lost_each_other_start_again_with_resume(tmp_path):
    once = "import os, sys\nif not os.path.exists('once'):\n"
    mark = "    open('once' if os.environ['DTENSOR_CLIENT_ID'] == '1' else '0', 'w')\n"
    machines = helpers.Machines(tmp_path, once + mark + "    sys.exit(75)")
    assert training(machines, poll_seconds=1).returncode == 75
    (tmp_path / "once").unlink()
    done = launch(machines, "resume", "--", "--model_dir=m", poll_seconds=1)
    assert done.returncode == 0, done.stderr
    assert "restart 1 of at most 10" in done.stderr


def wait_for(machines, text, workers=(0, 1)):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        logs = [machines.log_dir / f"worker-{i}.log" for i in workers]
        if all(log.exists() and text in log.read_text() for log in logs):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in {logs}")


def start(machines, verb="train"):
    settings = {"backend": "local", "program": machines.program, "stop_seconds": 5}
    return machines.start(verb, "--", "--model_dir=m", **settings)


def test_ctrl_c_lets_the_processes_save_and_stops_them(tmp_path):
    machines = helpers.Machines(tmp_path, SAVE)
    running = start(machines)
    wait_for(machines, "step 1")
    time.sleep(1)  # until it watches
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert machines.log(0).endswith("saved\n") and machines.log(1).endswith("saved\n")


def test_a_running_launch_is_told_followed_and_stopped_from_elsewhere(tmp_path):
    machines = helpers.Machines(tmp_path, SAVE)
    first = start(machines)
    wait_for(machines, "step 1")
    again = training(machines)
    assert again.returncode == 2
    assert "'pod' is running: follow it with resume, end it with stop" in again.stderr
    assert "worker 0 running: step 1" in launch(machines, "status").stdout
    follower = start(machines, "resume")
    assert "still running: following it" in follower.stderr.readline()
    assert launch(machines, "stop").returncode == 0
    for process in (first, follower):
        process.communicate(timeout=60)
        assert process.returncode == 1
    assert machines.log(0).count("step 1") == 1


def test_a_process_that_does_not_end_is_killed(tmp_path):
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on', flush=True)"
    machines = helpers.Machines(
        tmp_path, f"import signal, time\n{stubborn}\ntime.sleep(100)"
    )
    running = start(machines)
    wait_for(machines, "on")
    assert launch(machines, "stop", stop_seconds=1).returncode == 0
    running.communicate(timeout=60)
    assert "worker 0 exit 137" in launch(machines, "status").stdout


def test_setup_without_the_program_says_how_to_get_it(tmp_path):
    machines = helpers.Machines(tmp_path)
    done = machines.launch("setup", backend="local", program="/no/keras-switch")
    assert done.returncode == 2
    assert "there is no keras-switch: 'make setup' installs it" in done.stderr
