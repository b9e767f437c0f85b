"""Commands of the page on pods: what reaches the workers is a run that can be made."""

import re
import shlex
import subprocess

import helpers_tpu_scripts as helpers
import pytest

from keras_switch.cli.__main__ import main

PAGE = (helpers.ROOT / "docs" / "running_on_pods.md").read_text().replace("\\\n", " ")
COMMANDS = re.findall(r"^tpu_scripts/launch\.sh .*$", PAGE, re.M)
DEVICES = {"tpu_v4_32": (16, "tpu_v4"), "gpu_2x8": (16, "h100"), "local": (8, "tpu_v4")}


def dry_run(command):
    """Returns what a command of the page prints if it is only to print."""
    launcher, dashes, training = command.partition(" -- ")
    done = subprocess.run(
        f"{launcher} --dry_run{dashes}{training}",
        shell=True,
        cwd=helpers.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_of_workers(printed):
    """Yields, for every worker that is started, the words after `keras-switch`."""
    for line in printed.splitlines():
        words = shlex.split(line, comments=True)
        for word in words:  # a command for a shell over there
            if " start " in word:
                words = shlex.split(word.removeprefix("--command="))
        if "start" in words:
            yield words[words.index("train") :]


def test_every_command_of_the_page_can_be_made():
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        assert dry_run(command)


TRAINING = [command for command in COMMANDS if " -- " in command]


@pytest.mark.parametrize("command", TRAINING, ids=lambda c: c.split()[2])
def test_the_words_that_reach_the_workers_are_a_run_and_a_plan(
    command, capsys, tmp_path
):
    (key,) = [key for key in DEVICES if key in command]
    devices, chip = DEVICES[key]
    first, *others = words_of_workers(dry_run(command))
    assert all(words == first for words in others)
    assert main([*first, "--dry_run"]) == 0
    assert f"_BASE_{devices}" not in capsys.readouterr().err
    parts = ("--gin_file=models", "--gin_file=lay", "--mesh", "--layout", "--batch")
    plan = [word for word in first if word.startswith(parts)]
    assert main(["plan", *plan, f"--chip={chip}", f"--json={tmp_path}/plan"]) == 0
    printed = capsys.readouterr().out
    assert re.search(rf"\b{devices}\b", printed)
