"""Mistakes end before anything runs, with what is wrong and how to give it."""

import subprocess

import helpers_tpu_scripts as helpers
import pytest

SCRIPT = helpers.SCRIPTS / "launch.sh"
LOCAL = ["--backend=local", "--name=try"]


def launch(*words, code=2):
    done = subprocess.run([SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_all_missing_settings_are_named_at_once():
    printed = launch("create", "--backend=tpu", "--name=pod", "--project=p", "--zone=z")
    assert "'create' on backend 'tpu' needs" in printed
    assert "--accelerator_type=...   tpu: type and size of the slice" in printed
    assert "--runtime_version=...   tpu: image of its machines" in printed
    assert "accelerator_type=... in a file (--settings=FILE)" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "--backend=...   where to run: tpu, ssh, slurm or local"),
        (["train", "--backend=k8s"], "backend=k8s is none of tpu, ssh, slurm, local"),
        (["trian", *LOCAL], "'trian' is no verb"),
        (["train", "--backend=local"], "--name=...   of the slice"),
        (["train", *LOCAL], "--model_dir=...   the same as --model_dir after --"),
        (["train", *LOCAL, "--zon=z"], "--zon: there is no setting 'zon'"),
        (["train", *LOCAL, "a.gin"], "'a.gin' is no flag; arguments of keras-switch"),
        (["train", *LOCAL, "--workers=two"], "workers=two is no whole number"),
        (["stop", "--backend=local", "--name=My Pod"], "name=My Pod: lower-case"),
        (
            ["train", *LOCAL, "--settings=none"],
            "--settings=none: there is no such file",
        ),
        (["stop", "--backend=ssh", "--name=a"], "--hosts=...   ssh: machines"),
        (["train", "--backend=slurm", "--name=a"], "--nodes=...   slurm: number"),
        (
            ["stop", "--backend=ssh", "--name=a", "--hosts=b,c", "--addresses=d"],
            "hosts names 2 machines and addresses 1",
        ),
        (
            [
                "stop",
                "--backend=tpu",
                "--name=a",
                "--project=p",
                "--zone=z",
                "--spot=1",
            ],
            "spot=1 is neither yes nor no: tpu: yes for a cheaper slice",
        ),
        (
            ["train", *LOCAL, "--model_dir=/a", "--", "--model_dir=/b"],
            "model_dir is given twice",
        ),
        (
            [
                "train",
                "--backend=ssh",
                "--name=a",
                "--hosts=b",
                "--",
                "--model_dir",
                "x/y",
            ],
            "model_dir=x/y: give the whole path (/...) or the address (gs://...) of a",
        ),
        (
            ["setup", "--backend=ssh", "--name=a", "--hosts=b", "--install=no.whl"],
            "there is no file 'no.whl' to copy to the workers",
        ),
    ],
)
def test_a_mistake_is_told(words, message):
    assert message in launch(*words)


def test_a_file_gives_settings_and_flags_win(tmp_path):
    file = tmp_path / "a.conf"
    file.write_text("# mine\n\nbackend=ssh\nname=a\r\nhosts=b # not a comment\nport=1")
    printed = launch("stop", "--port=7", f"--settings={file}", "--dry_run", code=0)
    assert "'b # not a comment'" in printed
    assert ":7'" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name=a\nzon=b", "line 2: there is no setting 'zon'"),
        ("name: a", "line 1: 'name: a' is not name=value"),
    ],
)
def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path, text, message):
    file = tmp_path / "a.conf"
    file.write_text(text)
    assert f"{file}, {message}" in launch("stop", f"--settings={file}")


def test_nothing_in_a_file_is_run(tmp_path):
    file = tmp_path / "a.conf"
    file.write_text(f"backend=local\nname=a\nport=1\nlog_dir=$(touch {tmp_path}/ran)")
    launch("stop", f"--settings={file}", "--dry_run", code=0)
    assert not (tmp_path / "ran").exists()


def test_help_lists_verbs_and_settings_with_their_defaults():
    printed = launch("help", code=0)
    for verb in helpers.VERBS:
        assert f"\n  {verb}  " in printed
    assert "--max_restarts=" in printed and "(10)" in printed
    assert launch("train", "--help", code=0) == printed


@pytest.mark.parametrize("file", helpers.SCRIPTS.glob("settings/*.conf"), ids=str)
def test_a_shipped_settings_file_is_complete(file):
    for verb in helpers.VERBS:
        launch(verb, f"--settings={file}", "--dry_run", code=0)


def test_an_address_is_a_folder_that_all_workers_share():
    words = "train", "--backend=ssh", "--name=a", "--hosts=b", "--dry_run"
    printed = launch(*words, "--", "--model_dir=gs://bucket/a", code=0)
    assert "--model_dir=gs://bucket/a" in printed
