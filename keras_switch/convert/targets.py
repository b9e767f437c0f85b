"""Folders that are there whole or not at all."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from keras_switch.convert.errors import ConversionError


@contextlib.contextmanager
def new_folder(target):
    """Gives a folder to write into, which becomes `target` when all went well.

    After an error nothing is left, and what was there is as it was.

    Args:
        target: path that is not there yet, or an empty folder.

    Raises:
        ConversionError: if something is there.
    """
    target = pathlib.Path(target).absolute()
    check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
    )
    folder.chmod(0o755)
    try:
        yield folder
        check_free(target)
        if target.is_dir():
            target.rmdir()
        os.replace(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_free(target):
    """Raises `ConversionError` if there is something at `target`."""
    target = pathlib.Path(target)
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        raise ConversionError(
            f"{target} is there already: give a new folder, or remove it yourself."
        )
