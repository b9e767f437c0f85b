"""Shared fixtures: fixed seeds, and the folders with expected numbers and data."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib

import keras
import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def goldens():
    """Returns the folder of the numbers that the original implementations gave."""
    return ROOT / "tests" / "goldens"


@pytest.fixture(scope="session")
def shared_data():
    """Returns the folder of small real data sets beside the checkout, or skips."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets in {folder}")
    return folder
