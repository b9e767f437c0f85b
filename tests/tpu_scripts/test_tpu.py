"""A TPU slice of two hosts: creation, the workers' numbers, preemption, the limit."""

import json

import helpers_tpu_scripts as helpers
import pytest

TELL = """
import json, os, sys
clients = {k: v for k, v in os.environ.items() if k.startswith("DTENSOR")}
print(json.dumps([clients, sys.argv[1:]]))
"""
# The slice is taken away in the first runs: their number is in the file `preemptions`.
PREEMPTED = """
import os, pathlib, sys, time
folder = pathlib.Path(os.environ["FAKE"])
if os.environ["DTENSOR_CLIENT_ID"] == "0":
    left = int((folder / "preemptions").read_text())
    if left:
        (folder / "preemptions").write_text(str(left - 1))
        (folder / "state").write_text("PREEMPTED")
        sys.exit(130)
    print("went on")
"""
WORDS = ["--", "--model_dir=/m"]


def launch(machines, verb, *words, **settings):
    slice_ = {"project": "p", "zone": "z", "accelerator_type": "v4-16"}
    how = {"backend": "tpu", "runtime_version": "r", "install": machines.wheel}
    return machines.launch(verb, *words, **(slice_ | how | settings))


def did(machines):
    """Returns what gcloud was asked to do: `create`, or `ssh` with a verb."""
    for call in machines.calls("gcloud"):
        (command,) = [w for w in call if w.startswith("--command=")] or [""]
        verb = command.partition("worker.sh ")[2].split(" ")[0]
        yield f"{call[3]} {verb}".strip()


@pytest.fixture
def made(tmp_path):
    """Returns a function to a slice on which a program is installed."""

    def make(program):
        machines = helpers.Machines(tmp_path, program)
        for verb in ("create", "setup"):
            done = launch(machines, verb)
            assert done.returncode == 0, done.stderr
        return machines

    return make


def test_resume_waits_for_a_request_that_stands_in_the_queue(tmp_path):
    machines = helpers.Machines(tmp_path, TELL)
    (tmp_path / "queue").write_text("WAITING_FOR_RESOURCES\nPROVISIONING\n")
    done = launch(machines, "resume", *WORDS, queued="yes")
    assert done.returncode == 0, done.stderr
    verbs = [*did(machines)]
    assert "delete" not in verbs and "create" not in verbs
    assert verbs.index("scp") < verbs.index("ssh start")


def test_create_says_that_it_costs_money(tmp_path):
    done = launch(helpers.Machines(tmp_path), "create", queued="yes")
    assert "queue: ACTIVE" in done.stderr
    assert "pod costs money until 'delete' has ended well" in done.stderr


def test_hosts_ask_their_machine_for_their_number_and_each_other(made):
    machines = made(TELL)
    done = launch(machines, "train", "--", *helpers.NASTY, "--model_dir=/m")
    assert done.returncode == 0, done.stderr
    launch(machines, "logs")
    for i in range(2):
        clients, arguments = json.loads(machines.log(i).splitlines()[-1])
        assert arguments == ["train", *helpers.NASTY, "--model_dir=/m"]
        assert clients == {
            "DTENSOR_CLIENT_ID": str(i),
            "DTENSOR_NUM_CLIENTS": "2",
            "DTENSOR_JOBS": "10.0.0.1:23410,10.0.0.2:23410",
            "DTENSOR_JOB_NAME": "worker",
        }


def test_tensorflow_for_tpus_replaces_the_other(made):
    machines = made(TELL)
    last = [" ".join(call) for call in machines.calls("uv")][-2:]
    assert last == [
        "pip uninstall --python env/bin/python tensorflow",
        "pip install --python env/bin/python tensorflow-tpu",
    ]


def test_a_taken_slice_ends_train_with_a_code_of_its_own(made):
    machines = made(PREEMPTED)
    (machines.folder / "preemptions").write_text("1")
    done = launch(machines, "train", *WORDS)
    assert done.returncode == 75
    assert "'resume' with the same arguments goes on" in done.stderr


def test_resume_gets_a_taken_slice_back_sets_it_up_and_goes_on(made):
    machines = made(PREEMPTED)
    (machines.folder / "preemptions").write_text("2")
    before = len(list(did(machines)))
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 0, done.stderr
    assert "restart 2 of at most 10" in done.stderr
    verbs = [verb for verb in [*did(machines)][before:] if verb != "describe"]
    anew = ["delete", "create", "ssh", "scp", "ssh", "ssh state", "ssh start"]
    assert verbs[:2] == ["ssh state", "ssh start"]
    text = " ".join(verbs)
    assert text.count(" ".join(anew)) == 2 == verbs.count("create")
    launch(machines, "logs")
    assert machines.log(0).endswith("went on\n")


def test_resume_gives_up_after_so_many_restarts(made):
    machines = made(PREEMPTED)
    (machines.folder / "preemptions").write_text("99")
    done = launch(machines, "resume", *WORDS, max_restarts=2)
    assert done.returncode == 75
    assert (machines.folder / "preemptions").read_text() == "96"
    assert "restart 2 of at most 2" in done.stderr


def test_resume_tries_again_where_there_is_no_capacity_at_first(tmp_path):
    machines = helpers.Machines(tmp_path, TELL)
    (tmp_path / "no_capacity").write_text("none\nnone\n")
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the machines did not come back") == 2


def test_a_slice_whose_state_is_not_told_is_not_deleted(made):
    machines = made(TELL)
    (machines.folder / "no_answer").write_text("1\n2\n")
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 0, done.stderr
    assert "ERROR: timed out" in done.stderr
    assert "delete" not in did(machines)


def test_resume_finishes_a_setup_that_failed_on_new_machines(tmp_path):
    machines = helpers.Machines(tmp_path, TELL)
    (tmp_path / "uv_fails").write_text("once\n")
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 0, done.stderr
    assert [*did(machines)].count("create") == 1


def test_a_mistake_of_the_program_is_not_tried_again(made):
    machines = made("import sys\nsys.exit('MODEL_DIR belongs to another model')")
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 1
    assert "MODEL_DIR belongs to another model" in done.stderr
    assert [*did(machines)].count("ssh start") == 1


def test_a_machine_that_was_restarted_lost_its_worker_and_resume_goes_on(made):
    once = "import os, pathlib, signal, time\nmark = pathlib.Path('rebooted')\n"
    dies = "if not mark.exists():\n    mark.touch()\n    os.killpg(0, signal.SIGKILL)"
    machines = made(once + dies)
    done = launch(machines, "resume", *WORDS)
    assert done.returncode == 0, done.stderr
    assert " lost; stopping the others" in done.stderr
    assert [*did(machines)].count("create") == 1  # the slice itself is still there


def test_delete_that_fails_says_what_it_costs_and_where_to_look(tmp_path):
    done = launch(helpers.Machines(tmp_path), "delete")
    assert done.returncode == 2
    assert "not deleted, it may still cost money; see gcloud compute" in done.stderr


def test_status_of_a_slice_that_is_gone(made):
    machines = made(TELL)
    assert launch(machines, "delete").returncode == 0
    done = launch(machines, "status")
    assert done.stdout.startswith("machines: absent\n")
    assert "the workers cannot all be reached" in done.stderr
