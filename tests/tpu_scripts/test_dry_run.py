"""What would be run by each verb on each back-end, word by word: see expected/*.txt."""

import pathlib
import re
import string

import helpers_tpu_scripts as helpers
import pytest

SETTINGS = {
    "tpu": {
        "project": "p",
        "zone": "us-central2-b",
        "accelerator_type": "v4-32",
        "runtime_version": "tpu-ubuntu2204-base",
    },
    "ssh": {"hosts": "me@gpu0,gpu1"},
    "slurm": {
        "nodes": 2,
        "gpus_per_node": 8,
        "partition": "gpu",
        "time": "24:00:00",
    },
    "local": {"workers": 2, "virtual_devices": 4, "program": "keras-switch"},
}
QUEUED = {"queued": "yes", "spot": "yes", "queue_hours": 6}
KEEP_ALIVE = "--ssh-flag=-oConnectTimeout=15 --ssh-flag=-oServerAliveInterval=15"
WHERE = "--project=p --zone=us-central2-b --quiet"
OPTIONS = "-o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
GPUS = "DTENSOR_JOBS=gpu0:23410,gpu1:23410"
HERE = "DTENSOR_JOBS=localhost:23410,localhost:23411 STATE_DIR=/logs"
DEVICES = "KERAS_SWITCH_VIRTUAL_DEVICES=4"
# What the expected lines shorten.
PARTS = {
    "tpus": "gcloud compute tpus",
    "ssh": "gcloud compute tpus tpu-vm ssh pod --worker=all",
    "where": WHERE,
    "flags": f"{KEEP_ALIVE} {WHERE}",
    "worker": "cd keras_switch/pod && env CLUSTER=tpu PORT=23410 bash worker.sh",
    "on0": f"ssh {OPTIONS} me@gpu0",
    "on1": f"ssh {OPTIONS} gpu1",
    "scp": f"scp {OPTIONS}",
    "in0": f"cd keras_switch/pod && env DTENSOR_CLIENT_ID=0 {GPUS} bash worker.sh",
    "in1": f"cd keras_switch/pod && env DTENSOR_CLIENT_ID=1 {GPUS} bash worker.sh",
    "local0": f"env DTENSOR_CLIENT_ID=0 {HERE} {DEVICES} bash SCRIPTS/worker.sh",
    "local1": f"env DTENSOR_CLIENT_ID=1 {HERE} {DEVICES} bash SCRIPTS/worker.sh",
    "job": "--job-name=pod --nodes=2 --ntasks-per-node=1 --gpus-per-node=8"
    " --partition=gpu --time=24:00:00 --requeue --signal=B:USR1@120"
    " --open-mode=append --output=/logs/job-%j.log",
    "train": "env/bin/keras-switch train --gin.TRAIN_STEPS=5 --model_dir=/shared/a",
    "words": "train --gin.TRAIN_STEPS=5 --model_dir=/shared/a",
}


def cases():
    """Yields back-end, verb (which may end in `, queued`), and the expected lines."""
    for file in sorted((pathlib.Path(__file__).parent / "expected").glob("*.txt")):
        for title, text in re.findall(
            r"^== (.*)\n((?:(?!==).*\n)*)", file.read_text(), re.M
        ):
            yield pytest.param(
                file.stem, title, text.strip(), id=f"{file.stem} {title}"
            )


@pytest.mark.parametrize(("backend", "title", "text"), cases())
def test_a_dry_run_prints_every_command(backend, title, text):
    verb, _, queued = title.partition(", ")
    settings = SETTINGS[backend] | (QUEUED if queued else {})
    training = ["--gin.TRAIN_STEPS=5", "--model_dir=/shared/a"]
    words = training if verb in ("train", "resume") else []
    printed = helpers.dry_run(
        verb, words, backend=backend, install="keras-switch==9", **settings
    )
    assert printed.strip() == string.Template(text).substitute(PARTS)


def dry_run(verb, *words, backend="tpu", **settings):
    settings = SETTINGS[backend] | settings
    return helpers.dry_run(verb, words, backend=backend, **settings)


def test_every_verb_of_every_backend_has_an_expectation():
    seen = {tuple(case.values[:2]) for case in cases()}
    assert seen >= {(b, v) for b in SETTINGS for v in helpers.VERBS}


def test_further_flags_and_the_environment_reach_their_places():
    more = {"create_flags": "--reserved --network=mine", "ssh_flags": "--internal-ip"}
    assert "--reserved --network=mine --project=p" in dry_run("create", **more)
    more["environment"] = "A=1 B=2"
    printed = dry_run("train", "--model_dir=/a", **more)
    assert "worker.sh start env A=1 B=2 env/bin/keras-switch train" in printed
    assert printed.count("--internal-ip") == 3


def test_setup_builds_a_wheel_of_the_checkout_and_sends_own_files(tmp_path):
    (tmp_path / "own.gin").touch()
    printed = dry_run("setup", send=tmp_path / "own.gin")
    assert (
        "python3 -m pip wheel --quiet --no-deps --wheel-dir /logs CHECKOUT" in printed
    )
    assert f"-py3-none-any.whl {tmp_path}/own.gin pod:keras_switch/pod/" in printed
    assert "-py3-none-any.whl[t5]" in printed


def test_a_repository_is_installed_from_its_address():
    address = "git+https://example.org/keras-switch@v1"
    assert f"keras-switch[t5] @ {address}" in dry_run("setup", install=address)


def test_hosts_may_have_other_addresses_among_themselves():
    printed = dry_run("stop", backend="ssh", addresses="10.0.0.1,10.0.0.2", port=9)
    assert "DTENSOR_JOBS=10.0.0.1:9,10.0.0.2:9" in printed
