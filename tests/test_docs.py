"""The pages do what they say: their Python runs, their commands are understood."""

import pathlib
import re
import shlex

import gin
import pytest

from keras_switch.cli import command, flags

ROOT = pathlib.Path(__file__).parent.parent
PAGES = ("README.md", "docs/tutorial_keras.md", "docs/planning.md")
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What only a reader has, a run or a module; and a mistake that a page is about.
NEED_A_RUN = (*command.OF_A_RUN, "serve")
READERS_OWN = re.compile(r"my_package|TRAIN_STEP=")


def blocks(text, language):
    """Returns the fenced blocks of a page that are in this language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for name, block in fenced if name == language]


def commands():
    """Yields the page and the words of every whole `keras-switch` command."""
    for page in TEXTS:
        for block in blocks(page.read_text(), ""):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("keras-switch ") and " ..." not in line:
                    yield page.name, line.removeprefix("keras-switch ")


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    python = blocks((ROOT / page).read_text(), "python")
    assert python
    for block in python:
        exec(compile(block, page, "exec"), scope)


@pytest.mark.parametrize("page, line", commands())
def test_a_command_of_a_page_is_understood(page, line):
    words = flags.parse(shlex.split(line, comments=True))
    if words.command not in NEED_A_RUN and not READERS_OWN.search(line):
        command.read(words)
    gin.clear_config()


def test_the_commands_of_the_pages_are_found():
    assert {line.split()[0] for _, line in commands()} == {*flags.COMMANDS} - {"demo"}
