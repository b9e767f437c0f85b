import importlib
import importlib.metadata

import pytest

from keras_switch.data import environment


@pytest.fixture
def versions(monkeypatch):
    """Returns a dictionary of what is installed, to be written to."""
    installed = {}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    environment.check.cache_clear()
    yield installed
    environment.check.cache_clear()


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"tensorflow-datasets": "4.9.10", "sentencepiece": "0.2.2", "protobuf": "6.33"},
        {"tfds-nightly": "4.9.10.dev1", "sentencepiece": "0.2.3", "protobuf": "7.36.2"},
    ],
)
def test_good_installations_pass(versions, good):
    versions.update(good)
    environment.check()


def test_two_tensorflow_datasets_are_refused_with_the_cure(versions):
    versions.update({"tensorflow-datasets": "4.9.10", "tfds-nightly": "4.9.2.dev2023"})
    with pytest.raises(
        ImportError, match=r"4\.9\.10 and tfds-nightly 4\.9\.2.*\n +pip uninstall"
    ):
        environment.load("seqio")


def test_all_clashes_are_told_at_once(versions):
    versions.update({"tensorflow-datasets": "4.9.10", "tfds-nightly": "4.9.2"})
    versions.update({"sentencepiece": "0.2.3", "protobuf": "6.33.0"})
    with pytest.raises(
        ImportError, match=r"(?s)tfds-nightly.*0\.2\.3 does not load with .*6\.33\.0"
    ):
        environment.check()


def test_a_missing_package_says_what_to_install(versions):
    with pytest.raises(
        ImportError,
        match=r"(?s)no_such_module.*keras-switch\[t5\].*--no-deps t5==0\.9\.4",
    ):
        environment.load("no_such_module")
