"""Layouts: named dimensions of tensors over the named axes of a mesh of devices.

`Mesh`, `Model` and their like need TensorFlow, and are imported when first used; rules,
shapes and `constrain` need nothing.
"""

import importlib

from keras_switch.partitioning.rules import LayoutRules as LayoutRules
from keras_switch.partitioning.scope import constrain as constrain
from keras_switch.partitioning.scope import gathered as gathered
from keras_switch.partitioning.scope import laid_out as laid_out
from keras_switch.partitioning.scope import on_mesh as on_mesh
from keras_switch.partitioning.scope import parts_of as parts_of
from keras_switch.partitioning.shape import MeshShape as MeshShape

_LAZY = {
    "Mesh": "mesh",
    "MeshTrainer": "trainer",
    "Model": "model",
    "Sequential": "model",
    "explain_layout": "explain",
    "full": "transfer",
    "pack_local": "transfer",
    "put": "transfer",
    "virtual_cpus": "devices",
}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    return getattr(module, name)
