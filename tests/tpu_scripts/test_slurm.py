"""A SLURM job of two nodes: what is submitted, and what the job does."""

import json

import helpers_tpu_scripts as helpers
import pytest

TELL = """
import json, os, sys
clients = {k: v for k, v in os.environ.items() if k.startswith("DTENSOR")}
print(json.dumps([clients, sys.argv[1:]]))
"""


def launch(machines, verb, *words, **settings):
    settings = {"backend": "slurm", "nodes": 2, "install": machines.wheel} | settings
    return machines.launch(verb, *words, **settings)


def trained(tmp_path, program, verb="train", words=("--model_dir=/m",), **settings):
    machines = helpers.Machines(tmp_path, program)
    done = launch(machines, "setup")
    assert done.returncode == 0, done.stderr
    done = launch(machines, verb, "--", *words, **settings)
    assert done.returncode == 0, done.stderr
    return machines


def test_every_task_gets_the_same_command_and_its_own_number(tmp_path):
    words = (*helpers.NASTY, "--model_dir=/m")
    machines = trained(tmp_path, TELL, words=words, environment="DTENSOR_A=1")
    for i in range(2):
        clients, arguments = json.loads(machines.log(i).splitlines()[-1])
        assert arguments == ["train", *words]
        assert clients == {
            "DTENSOR_CLIENT_ID": str(i),
            "DTENSOR_NUM_CLIENTS": "2",
            "DTENSOR_JOBS": "n0:23410,n1:23410",
            "DTENSOR_JOB_NAME": "worker",
            "DTENSOR_A": "1",
        }
    (call,) = machines.calls("srun")
    assert "--kill-on-bad-exit=1" in call
    assert (tmp_path / "job").read_text() == "code 0\n"


def requeued(machines):
    return [call for call in machines.calls("scontrol") if call[0] == "requeue"]


def time_is_up(tmp_path, program, **settings):
    (tmp_path / "time_is_up").touch()
    return trained(tmp_path, f"import time\ntime.sleep(0.5)\n{program}", **settings)


def test_near_its_time_limit_a_job_saves_and_is_queued_again(tmp_path):
    machines = time_is_up(tmp_path, "sys.exit(130)")
    assert machines.calls("scancel") == [["--signal=TERM", "7"]]
    assert requeued(machines) == [["requeue", "7"]]


def test_a_job_that_has_trained_to_its_end_by_then_is_not(tmp_path):
    machines = time_is_up(tmp_path, "sys.exit(0)")
    assert machines.calls("scancel") and not requeued(machines)
    assert (tmp_path / "job").read_text() == "code 0\n"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_job_that_ended_by_itself_is_not(tmp_path, code):
    machines = trained(tmp_path, f"sys.exit({code})")
    assert not requeued(machines)
    assert (tmp_path / "job").read_text().endswith(f"code {code}\n")


def test_a_job_whose_worker_died_is_not_though_the_others_saved(tmp_path):
    died = "import os\nsys.exit(3 if os.environ['DTENSOR_CLIENT_ID'] == '1' else 130)"
    machines = trained(tmp_path, died)
    assert not requeued(machines)
    assert (tmp_path / "job").read_text() == "code 130\n"


def test_the_number_of_restarts_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    machines = time_is_up(tmp_path, "sys.exit(130)", max_restarts=3)
    assert not requeued(machines)
    assert "restarted 3 times, the limit" in (tmp_path / "job").read_text()


def test_train_refuses_while_a_job_is_queued_and_resume_adds_one_after_it(tmp_path):
    machines = trained(tmp_path, TELL)
    (tmp_path / "queue").write_text("7 PENDING\n")
    done = launch(machines, "train", "--", "--model_dir=/m")
    assert done.returncode == 2
    assert "'pod' is queued or running: resume adds a job after it" in done.stderr
    done = launch(machines, "resume", "--", "--model_dir=/m", sbatch_flags="--qos=low")
    assert done.returncode == 0, done.stderr
    assert "job 7; logs of the job and of its workers are written to" in done.stderr
    flags = machines.calls("sbatch")[-1]
    assert "--dependency=singleton" in flags and "--qos=low" in flags
