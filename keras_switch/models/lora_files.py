"""LoRA weights in a file of their own, a thousandth of the model's."""

import json

import h5py
import numpy as np

from keras_switch.layers.lora import MARK
from keras_switch.models.lora import Lora, variables_of

SUFFIX = ".lora.h5"


def save(model, filepath):
    """Writes the LoRA weights of a model.

    Args:
        model: `SwitchBackbone` with LoRA.
        filepath: ends with `.lora.h5`.

    Raises:
        ValueError: if there is no LoRA, or the name ends otherwise.
    """
    lora = model.config.lora
    if lora is None:
        raise ValueError(
            f"{model.name!r} has no LoRA weights to save: call enable_lora(rank) first."
        )
    if not str(filepath).endswith(SUFFIX):
        raise ValueError(f"{filepath} must end with {SUFFIX}, as KerasHub wants it.")
    with h5py.File(filepath, "w") as file:
        values = {"rank": lora.rank, "alpha": lora.alpha, "targets": lora.targets}
        file.attrs["lora"] = json.dumps(values)
        for variable in _weights(model):
            file[variable.path] = variable.numpy().astype("float32")


def load(model, filepath):
    """Reads LoRA weights; enables LoRA as they have it where there is none.

    Raises:
        ValueError: if they are of another rank or of other kernels.
    """
    with h5py.File(filepath, "r") as file:
        lora = Lora(**json.loads(file.attrs["lora"]))
        if model.config.lora is None:
            model.enable_lora(lora.rank, lora.alpha, lora.targets)
        found = {}
        file.visititems(lambda name, x: found.update({name: x}) if _is_set(x) else None)
        weights = {variable.path: variable for variable in _weights(model)}
        differing = sorted(found.keys() ^ weights.keys()) + [
            f"{name} {found[name].shape}"
            for name in sorted(found.keys() & weights.keys())
            if found[name].shape != tuple(weights[name].shape)
        ]
        if differing:
            raise ValueError(
                f"{filepath} holds LoRA of rank {lora.rank} of {lora.targets}; this "
                f"model has {model.config.lora}. They differ in {len(differing)} "
                f"weights: {', '.join(differing[:5])}."
            )
        for name, weight in weights.items():
            weight.assign(np.asarray(found[name]))


def _weights(model):
    return [v for v in variables_of(model) if MARK in v.name]


def _is_set(item):
    return isinstance(item, h5py.Dataset)
