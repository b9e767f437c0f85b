"""What the machine has installed: imports that a data pipeline needs, checked first.

SeqIO brings JAX, pandas and TensorFlow Datasets along, so that nothing here imports it
before a pipeline asks.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import logging

from packaging.version import Version

HOW_TO_INSTALL = (
    "Install what SeqIO tasks need with\n"
    "    pip install 'keras-switch[t5]'\n"
    "    pip install --no-deps t5==0.9.4\n"
    "(t5 without its dependencies: it names nightly builds that overwrite the packages "
    "of the first line.)"
)


def load(name: str):
    """Returns the module `name`: `"seqio"`, or one of t5.

    Raises:
        ImportError: if it is missing, or if packages are installed that break it; says
            which commands mend that.
    """
    check()
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"Cannot import {name!r}: {error}.\n{HOW_TO_INSTALL}"
        ) from error


@contextlib.contextmanager
def quiet():
    """Keeps back SeqIO's advice on features and lengths, which is not for our users."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@functools.cache
def check():
    """Finds installations that fail late and strangely.

    Raises:
        ImportError: naming every clash, each with the commands that mend it.
    """
    clashes = [*_two_datasets(), *_protobuf_too_old()]
    if clashes:
        raise ImportError("\n".join(clashes))


def _two_datasets():
    """Two distributions own the package `tensorflow_datasets`; files of both mix."""
    stable, nightly = _version("tensorflow-datasets"), _version("tfds-nightly")
    if stable and nightly:
        yield (
            f"tensorflow-datasets {stable} and tfds-nightly {nightly} are both "
            "installed and overwrite each other's files. (t5 and seqio-nightly ask for "
            "the nightly.) Mend it with\n"
            "    pip uninstall -y tensorflow-datasets tfds-nightly seqio-nightly\n"
            "    pip install --force-reinstall --no-deps seqio==0.0.20 "
            "tensorflow-datasets"
        )


def _protobuf_too_old():
    """From 0.2.3 on sentencepiece is generated for protobuf 7.36, unsaid."""
    sentencepiece, protobuf = _version("sentencepiece"), _version("protobuf")
    if not (sentencepiece and protobuf):
        return
    if sentencepiece >= Version("0.2.3") and protobuf < Version("7.36"):
        yield (
            f"sentencepiece {sentencepiece} does not load with protobuf {protobuf}. "
            "Mend it with\n"
            "    pip install 'sentencepiece>=0.2.0,<0.2.3'"
        )


def _version(distribution):
    try:
        return Version(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return None
