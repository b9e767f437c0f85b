"""Variables in a checkpoint: their names there, and whether they fit those of a run."""

import re

import tensorflow as tf

from keras_switch.training.saving import CheckpointError

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def named(variables):
    """Returns TensorFlow variables by names that do not depend on running numbers."""
    return {
        f"{index:04d}|{_stable(v.path)}": v.value for index, v in enumerate(variables)
    }


def check(path, variables):
    """Raises `CheckpointError` naming the variables of a checkpoint that differ.

    Args:
        path: of the checkpoint.
        variables: by kind (`"model"`, `"optimizer"`), what `named` gives. Other kinds
            in the checkpoint do not matter.
    """
    wanted = {
        f"{kind}/{name}": tuple(variable.shape)
        for kind, of_kind in variables.items()
        for name, variable in of_kind.items()
    }
    saved = _saved(path, tuple(f"{kind}/" for kind in variables))
    lines = [
        f"  {name}: {saved.get(name, 'missing')} in the checkpoint, "
        f"{wanted.get(name, 'missing')} in this run"
        for name in sorted(saved.keys() | wanted.keys())
        if saved.get(name) != wanted.get(name)
    ]
    if lines:
        shown = "\n".join([*lines[:10], *(["  ..."] if len(lines) > 10 else [])])
        raise CheckpointError(
            f"The checkpoint {path} is of another model or optimizer: {len(lines)} "
            f"variables differ.\n{shown}\nUse the configuration it was made with, or "
            "another model_dir."
        )


def _saved(path, prefixes):
    """Returns the shapes of the variables whose names start so."""
    shapes = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    return {
        _unescaped(name.removesuffix(_VALUE)): tuple(shape)
        for name, shape in shapes.items()
        if name.endswith(_VALUE) and name.startswith(prefixes)
    }


def _stable(path):
    """Returns a path without the numbers that Keras appends to repeated names."""
    # Slots carry the path of their weight with underscores: numbers may be anywhere.
    return re.sub(r"_\d+(?=[_/]|$)", "", path).replace("/", "|")


def _unescaped(name):
    return name.replace("..", ".")
