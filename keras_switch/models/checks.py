"""Checks of config fields: each yields a sentence per mistake, so that all are told."""

import keras

from keras_switch.partitioning.mistakes import nearest


def below(config, least, *names, optional=False):
    """Yields a mistake for each field that is no whole number from `least` on."""
    for name in names:
        value = getattr(config, name)
        if value is None and optional:
            continue
        if type(value) is not int or value < least:
            yield f"{name}={value!r}: give a whole number, at least {least}"


def not_rates(config, *names):
    """Yields a mistake for each field that is no share in [0, 1)."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int | float) or not 0 <= value < 1:
            yield f"{name}={value!r}: give a share from 0 to below 1"


def not_instances(config, kinds):
    """Yields a mistake for each field that is of no class given for it in `kinds`."""
    for name, kind in kinds.items():
        value = getattr(config, name)
        if not isinstance(value, kind):
            kind = kind if isinstance(kind, tuple) else (kind,)
            names = [k.__name__ for k in kind if k is not type(None)]
            none = " or None" if type(None) in kind else ""
            yield f"{name}={value!r}: give {' or '.join(names)}{none}"


def unknown_activation(mlp):
    """Yields a mistake if Keras has no activation of the name that `mlp` gives."""
    try:
        keras.activations.get(mlp.activation)
    except ValueError:
        known = [name for name in dir(keras.activations) if name.islower()]
        yield (
            f"{mlp}: Keras has no activation of this name; nearest are "
            f"{nearest(mlp.activation, known, 3)}"
        )
