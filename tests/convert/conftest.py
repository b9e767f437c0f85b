"""Folders in Hugging Face's format."""

import pathlib
import shutil

import helpers_checkpoints as checkpoints
import pytest


@pytest.fixture(scope="package")
def made(tmp_path_factory):
    """Returns a folder in Hugging Face's format and the model that is in it."""
    folder = tmp_path_factory.mktemp("made")
    return folder, checkpoints.hugging_face_folder(folder)


@pytest.fixture
def folder(made, tmp_path):
    """Returns a copy of that folder, to be spoilt."""
    return pathlib.Path(shutil.copytree(made[0], tmp_path / "copy"))
