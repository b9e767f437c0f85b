"""Weights as 8-bit integers with a scale for each output channel.

Routers stay as they are, in float32, and so do norms, biases and position biases: they
are small, and a router's choice is all or nothing.
"""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from keras_switch.layers.experts import Experts, GatedExperts
from keras_switch.layers.int8 import Int8Blocks
from keras_switch.models.decoding import dropless
from keras_switch.routing.part import Part

# Axes that a product with the weight sums over, by the weight's name. Rows of an
# embedding are channels: they are looked up, and they are the columns behind logits.
SUMMED = {
    **{"query": (0,), "key": (0,), "value": (0,), "output": (0, 1)},
    **{"wi": (-2,), "wi_0": (-2,), "wi_1": (-2,), "wo": (-2,)},
    **{"embedding": (-1,), "logits": (0,)},
}


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class AsTrained(Part):
    """Weights of an export as the model has them."""

    def of(self, model):
        """Returns no context at all: nothing is to be done."""
        return contextlib.nullcontext()

    def quality(self, model):
        """Returns `None`: nothing is lost."""


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Int8(Part):
    """Weights of an export as 8-bit integers; a quarter of the size.

    One scale for each output channel. Those of experts are unpacked when an expert
    runs, the others once in a request.
    """

    def of(self, model):
        """Returns the packed weights, to be entered where the model is traced."""
        return Packed(model)

    def quality(self, model):
        """Returns what that costs on random inputs, `Quality`."""
        return Packed(model).quality()


@dataclasses.dataclass(frozen=True)
class Quality:
    """What 8-bit weights cost.

    Args:
        bytes_before: of all weights.
        bytes_after: likewise.
        logit_error: root mean square of the change of logits, as a share of theirs.
        same_choice: share of tokens whose likeliest successor stays.
    """

    bytes_before: int
    bytes_after: int
    logit_error: float
    same_choice: float

    def __str__(self):
        return (
            f"weights {self.bytes_before / 1e6:.1f} -> {self.bytes_after / 1e6:.1f} "
            f"MB, logits change by {self.logit_error:.2%}, {self.same_choice:.1%} of "
            "likeliest tokens stay"
        )


class Packed:
    """The weights of a model as they are exported.

    Args:
        model: language model, not on a mesh.
    """

    def __init__(self, model):
        self.model = model
        self.stack = contextlib.ExitStack()
        self.pairs = {
            weight.path: (weight, *_packed(weight.numpy(), SUMMED[weight.name]))
            for weight in model.trainable_variables
            if weight.name in SUMMED and "relative_bias" not in weight.path
        }

    @property
    def bytes(self):
        """Bytes of the weights before and after."""
        before = sum(_bytes(w) for w in self.model.trainable_variables)
        packed = sum(_bytes(w) for w, *_ in self.pairs.values())
        now = sum(_bytes(x) for _, *pair in self.pairs.values() for x in pair)
        return before, before - packed + now

    def __enter__(self):
        """Makes the model, while it is traced or run, read the packed weights."""
        self.stack.enter_context(self._in_place())

    def __exit__(self, *error):
        self.stack.close()

    @contextlib.contextmanager
    def _in_place(self):
        experts = [
            (layer, name, getattr(layer, name))
            for layer in self.model._flatten_layers()
            if isinstance(layer, Experts | GatedExperts)
            for name in ("wi", "wi_0", "wi_1", "wo")
            if hasattr(layer, name)
        ]
        blocks = {id(weight) for *_, weight in experts}
        whole = [
            (weight, tf.cast(tf.cast(values, "float32") * scale, weight.dtype))
            for weight, values, scale in self.pairs.values()
            if id(weight) not in blocks
        ]
        try:
            for layer, name, weight in experts:
                pair = self.pairs[weight.path][1:]
                object.__setattr__(layer, name, Int8Blocks(*pair))
            with keras.StatelessScope(state_mapping=whole):
                yield
        finally:
            for layer, name, weight in experts:
                object.__setattr__(layer, name, weight)

    def quality(self) -> Quality:
        """Returns what the integers cost, on random inputs."""
        rng, size = np.random.default_rng(0), self.model.backbone.config.vocab_size
        inputs = {
            name: np.ones((8, 16), "int32")
            if name.endswith("mask")
            else rng.integers(3, size, (8, 16), "int32")
            for name in self.model.input
        }
        with dropless(self.model.backbone):
            before = self.model(inputs).numpy()
            with self:
                after = self.model(inputs).numpy()
        error = np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2))
        same = np.mean(before.argmax(-1) == after.argmax(-1))
        return Quality(*self.bytes, float(error), float(same))


def _packed(weight, axes):
    """Returns a weight as variables: int8, and float32 scales that broadcast."""
    weight = np.asarray(weight, "float32")
    most = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.where(most > 0, most, 1.0) / 127
    values = np.clip(np.round(weight / scale), -127, 127).astype("int8")
    return tuple(
        tf.Variable(x, trainable=False) for x in (values, scale.astype("float32"))
    )


def _bytes(weight):
    size = tf.as_dtype(keras.backend.standardize_dtype(weight.dtype)).size
    return int(np.prod(weight.shape)) * size
