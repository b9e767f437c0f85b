"""Errors of saving that tell the user what to do, and that nothing is lost."""

import contextlib
import pathlib
import shutil

import tensorflow as tf

from keras_switch.training.paths import path_of, remove_tree


class CheckpointError(OSError):
    """A checkpoint cannot be written, or is not the one that this run needs."""


@contextlib.contextmanager
def guarded(folder, latest, prefix=None):
    """Turns errors of writing to `folder` into a CheckpointError that helps.

    Args:
        folder: where files are written.
        latest: the newest checkpoint that is intact, or None.
        prefix: beginning of the names of new files, which an error leaves half written
            and which are then removed.
    """
    folder = path_of(folder)
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, tf.errors.OpError) as error:
        if prefix is not None:
            with contextlib.suppress(OSError):
                remove(folder, f"{prefix}_")
                remove(folder, f"{prefix}.")
        kept = (
            f"Nothing is lost before that: {latest} is intact, and the same command "
            "goes on from it."
            if latest
            else "There is no earlier checkpoint."
        )
        raise CheckpointError(
            f"Cannot save in {folder}: {_reason(error)}. {_room(folder)}Make room or "
            f"check the permissions, or choose another model_dir. {kept}"
        ) from error


def remove(folder, beginning):
    """Removes files whose names begin so; indices first: they make others valid."""
    found = path_of(folder).glob(f"{beginning}*")
    for file in sorted(found, key=lambda file: file.suffix != ".index"):
        remove_tree(file) if file.is_dir() else file.unlink()


def _reason(error):
    text = getattr(error, "strerror", None) or getattr(error, "message", str(error))
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__


def _room(folder):
    if not isinstance(folder, pathlib.Path):
        return ""
    existing = next((p for p in (folder, *folder.parents) if p.exists()), None)
    if existing is None:
        return ""
    return f"({shutil.disk_usage(existing).free / 1e9:.1f} GB are free there.) "
