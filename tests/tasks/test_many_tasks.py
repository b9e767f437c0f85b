"""The example of many tasks in one model, with a stand-in for `keras-switch`."""

import os
import pathlib
import subprocess

import gin
import pytest

from keras_switch.cli import command, flags

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "many_tasks.sh"
STAND_IN = '#!/bin/sh\nprintf "%s\\n" "$*" >>"$CALLS"\n'


@pytest.fixture
def calls(tmp_path):
    """Returns a function that runs the example and returns the commands it gave."""
    program = tmp_path / "keras-switch"
    program.write_text(STAND_IN)
    program.chmod(0o755)

    def run(*words):
        given = tmp_path / "calls"
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "CALLS": str(given), "RUNS": "there"}
        subprocess.run([str(EXAMPLE), *words], env=env, check=True)
        return [line.split() for line in given.read_text().splitlines()]

    yield run
    gin.clear_config()


@pytest.mark.parametrize("mixture", ["proportional", "temperature", "equal"])
def test_a_mixture_is_trained_and_then_evaluated(calls, mixture):
    name = f"several_{mixture}"
    train, evaluate = calls(name, "--gin.BATCH_SIZE=64")
    assert evaluate == ["eval", f"--model_dir=there/{name}"]
    config = command.read(flags.parse(train))
    found = {macro: binding.value for macro, binding in config.macros.items()}
    assert found["TASK"] == name
    assert found["MODEL_DIR"] == f"there/{name}"
    assert found["BATCH_SIZE"] == 64


def test_without_a_word_it_is_the_temperature_mixture(calls):
    _, evaluate = calls()
    assert evaluate == ["eval", "--model_dir=there/several_temperature"]
