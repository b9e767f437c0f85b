"""Switch Transformers for Keras 3 on TensorFlow.

`layers.SwitchFeedForward` is a layer for any Keras model; `models` holds whole models
under KerasHub's interface; `convert` brings published checkpoints in and out;
`training` and `data` are what runs are made of; `routing` and `dispatch` are the parts
inside a sparse layer.
"""

import importlib

# Not lazily: `keras.models.load_model` finds only classes whose module was imported.
from keras_switch import convert as convert
from keras_switch import data as data
from keras_switch import dispatch as dispatch
from keras_switch import distillation as distillation
from keras_switch import layers as layers
from keras_switch import models as models
from keras_switch import partitioning as partitioning
from keras_switch import routing as routing
from keras_switch import training as training

__version__ = "0.1.0"


def __getattr__(name):
    # Imported when first used: what needs TensorFlow's DTensor, and rooms that hold
    # nothing which a saved model could name.
    if name in ("Mesh", "Model", "explain_layout"):
        return getattr(partitioning, name)
    if name in ("evaluation", "export", "planning", "serving"):
        return importlib.import_module(f"keras_switch.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
