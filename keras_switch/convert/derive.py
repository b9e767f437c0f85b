"""A model with another config whose weights are made of those of the first."""

import functools

import numpy as np

from keras_switch import models
from keras_switch.convert.errors import ConversionError
from keras_switch.convert.placing import put, whole


def weights_of(model):
    """Returns a function that gives a weight of a model by its path, as an array."""
    variables = {variable.path: variable for variable in model.weights}
    return lambda path: whole(variables[path])


def derived(model, config, value):
    """Returns a model of the same task with another config.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM`; it stays as it is.
        config: `ModelConfig`.
        value: function of a weight's path that gives its value; `None` leaves the fresh
            one.

    Raises:
        ConversionError: if a value is of another shape.
    """
    policy = model.backbone.dtype_policy
    new = type(model)(models.SwitchBackbone(config, dtype=policy), model.preprocessor)
    for variable in new.weights:
        found = value(variable.path)
        if found is None:
            continue
        if np.shape(found) != tuple(variable.shape):
            raise ConversionError(
                f"{variable.path} would be {np.shape(found)}, but needs "
                f"{tuple(variable.shape)}."
            )
        put(variable, functools.partial(_copied, found))
    return new


def _copied(value, where, array):
    """Fills an array with a part of a value, or with all of it."""
    array[...] = value if where is None else value[where]
