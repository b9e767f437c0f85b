"""Fitting on several processes: what is refused, and whose rows are whose."""

import inspect
import random
import zlib

import keras
from keras import tree

from keras_switch.partitioning.clients import clients_of
from keras_switch.partitioning.traced import split
from keras_switch.partitioning.transfer import full

# Each writes files whose names are the same in every process.
_OF_ALL = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
_OF_ONE = (keras.callbacks.TensorBoard, keras.callbacks.CSVLogger)


def check_seeds(mesh):
    """Raises `ValueError` if the processes would start from other random numbers."""
    state = zlib.crc32(repr(random.getstate()).encode()) % 2**20  # exact in float32
    if mesh.clients.differ(state):
        raise ValueError(
            f"The {mesh.clients.number} processes on the mesh {str(mesh)!r} would make "
            "parts of different weights, since their random states differ: call "
            "keras.utils.set_random_seed with the same number in all, before "
            "`with mesh:`."
        )


def check_files(model, callbacks):
    """Raises `ValueError` for callbacks of `fit` that write over other processes."""
    clients = model.mesh.clients
    if clients.number == 1:
        return
    for callback in tree.flatten(getattr(callbacks, "callbacks", callbacks)):
        name = type(callback).__name__
        if isinstance(callback, _OF_ALL):
            raise ValueError(
                f"{clients.number} processes would write the files of {name} over each "
                "other: use keras_switch.training.train (or `keras-switch train`), "
                "whose checkpoints are written together, or call save_weights after "
                "fit, in all processes, each with a file name of its own."
            )
        if isinstance(callback, _OF_ONE) and not clients.is_first:
            raise ValueError(
                f"{clients.number} processes would write the files of {name} over each "
                "other: give it to the first one alone (callbacks=[...] if "
                "mesh.clients.is_first else None)."
            )


def with_check(model, callbacks):
    """Returns callbacks of `fit`, and on several processes one that counts batches."""
    listed = isinstance(callbacks, keras.callbacks.CallbackList)
    if model.mesh.clients.number == 1 or listed:
        return callbacks
    return [*tree.flatten(callbacks or []), SameSteps()]


class SameSteps(keras.callbacks.Callback):
    """Refuses epochs that are longer in one process than in another: it would wait."""

    def on_train_begin(self, logs=None):
        mesh, steps = self.model.mesh, self.params.get("steps")
        if mesh.clients.differ(-1 if steps is None else steps):
            raise ValueError(
                f"The {mesh.clients.number} processes on the mesh {str(mesh)!r} have "
                f"different numbers of batches, this one {steps} an epoch: give every "
                "process as many rows, or set steps_per_epoch."
            )


def quiet(model, method, args, kwargs):
    """Returns arguments of a method of Keras: only the first process shows progress.

    Args:
        model: on a mesh.
        method: bound, `fit`, `evaluate` or `predict`.
        args: for it.
        kwargs: for it.
    """
    if model.mesh.clients.is_first:
        return args, kwargs
    return replaced(method, args, kwargs, "verbose", lambda verbose: 0)


def replaced(method, args, kwargs, name, change):
    """Returns arguments of a method with one of them changed, `None` if not given."""
    given = inspect.signature(method).bind_partial(*args, **kwargs)
    if name in given.arguments:
        given.arguments[name] = change(given.arguments[name])
        return given.args, given.kwargs
    return args, {**kwargs, name: change(kwargs.get(name))}


def own_rows(model, outputs):
    """Returns the rows of outputs that this process fed.

    Args:
        model: on a mesh.
        outputs: array, the rows of all processes.
    """
    share = model.mesh.clients.share
    if share.of == 1:
        return outputs
    each = len(outputs) // share.of
    return outputs[share.index * each : (share.index + 1) * each]


def all_rows(model, rows):
    """Returns the rows of all processes, as they were fed; every one must call this.

    Args:
        model: on a mesh or on none.
        rows: array, those that this process fed or that came of them.
    """
    if clients_of(model).share.of == 1:
        return rows
    return full(split(model.mesh, rows))
