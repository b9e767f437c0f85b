"""Variables in a checkpoint: their names there, and whether they fit those of a run."""

import re

import tensorflow as tf

from keras_switch.training.saving import CheckpointError


def named(kind, variables):
    """Returns TensorFlow variables by names that do not depend on running numbers.

    Args:
        kind: `"model"` or `"optimizer"`.
        variables: Keras variables.
    """
    return {
        f"{kind}/{index:04d}/{_stable(v.path)}": v.value
        for index, v in enumerate(variables)
    }


def check(path, variables):
    """Raises `CheckpointError` naming the variables of a checkpoint that differ.

    Args:
        path: of the checkpoint.
        variables: by name. What the checkpoint has of kinds that are not among them
            does not matter.
    """
    wanted = {name: _form(v.dtype, v.shape) for name, v in variables.items()}
    kinds = {name.partition("/")[0] for name in wanted}
    reader = tf.compat.v1.train.NewCheckpointReader(path)
    dtypes = reader.get_variable_to_dtype_map()
    saved = {
        name: _form(dtypes[name], shape)
        for name, shape in reader.get_variable_to_shape_map().items()
        if name.partition("/")[0] in kinds
    }
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


def _form(dtype, shape):
    return f"{dtype.name}{tuple(shape)}"


def _stable(path):
    """Returns a path without the numbers that Keras appends to repeated names."""
    # Slots carry the path of their weight with underscores: numbers may be anywhere.
    return re.sub(r"_\d+(?=[_/]|$)", "", path)
