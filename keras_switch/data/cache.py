"""Files that are made once and kept: a folder of the user's, named by content."""

import contextlib
import os
import pathlib
import uuid

VARIABLE = "KERAS_SWITCH_CACHE"


def cache_dir() -> pathlib.Path:
    """Returns `$KERAS_SWITCH_CACHE`, or `~/.cache/keras_switch` if that is not set."""
    folder = os.environ.get(VARIABLE) or "~/.cache/keras_switch"
    return pathlib.Path(folder).expanduser()


def cached(name: str, make) -> pathlib.Path:
    """Returns the path of a cached file, and makes the file if it is missing.

    The file appears whole or not at all, whoever else is making it.

    Args:
        name: name of the file; it must tell apart whatever content may differ.
        make: function of no arguments, returns the content as bytes.

    Raises:
        OSError: if the folder cannot be written; says which variable to set.
    """
    path = cache_dir() / name
    if path.exists():
        return path
    temporary = path.with_name(f".{name}.{uuid.uuid4().hex}")
    with _told_where(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    try:
        content = make()  # after the folder was seen to take files: this may be slow
        with _told_where(path):
            temporary.write_bytes(content)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _told_where(path):
    """Adds to an error of the file system which setting moves the cache."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"Cannot write {path.name} into the cache folder {path.parent} "
            f"({error.strerror}). Set the environment variable {VARIABLE} to a folder "
            "that you may write to and that has room",
        ) from error
