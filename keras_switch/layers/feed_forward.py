"""The feed-forward layer of the Transformer.

Axes: B batch, L length, D d_model, F d_ff.
"""

from typing import ClassVar

import keras
from keras import ops

from keras_switch.layers import activations
from keras_switch.layers.dropout import SequenceDropout
from keras_switch.layers.initializers import ScaledTruncatedNormal
from keras_switch.layers.lora import LoraLayer
from keras_switch.partitioning import constrain, gathered


@keras.saving.register_keras_serializable("keras_switch")
class FeedForward(LoraLayer):
    """Widens each token, activates, and narrows again: `act(x wi) wo`, without biases.

    T5 v1.0 (arXiv:1910.10683, section 2.1); in training the mask of the hidden
    dropout is shared along the length, as in Mesh TensorFlow.

    Args:
        d_ff: hidden width.
        activation: name or function; see `keras_switch.layers.activations.get`.
        dropout_rate: share of hidden coordinates to drop in training.
        init_scale: scale of the weights' `ScaledTruncatedNormal`.

    Call arguments:
        x: `(B, L, D)` or `(B, D)`.
        mask: not needed; taken so that any layer over tokens can stand here.
        training: whether to drop.
    """

    lora_axes: ClassVar = {"wi": (0, 1), "wo": (0, 1)}

    def __init__(
        self, d_ff, activation="relu", dropout_rate=0.0, init_scale=0.1, **kwargs
    ):
        super().__init__(**kwargs)
        self.d_ff = d_ff
        self.activation = activation
        self.dropout_rate = dropout_rate
        self.init_scale = init_scale
        self.dropout = SequenceDropout(dropout_rate, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.wi = self._kernel("wi", (input_shape[-1], self.d_ff), ("d_model", "d_ff"))
        self.wo = self._kernel("wo", (self.d_ff, input_shape[-1]), ("d_ff", "d_model"))
        self._build_lora()

    def call(self, x, mask=None, training=False):
        tokens = ("batch", "length")[: len(x.shape) - 1]
        x = constrain(self._hidden(x), *tokens, "d_ff")  # (B, L, F)
        x = self._product("wo", self.dropout(x, training=training))
        return constrain(x, *tokens, "d_model")

    def compute_output_shape(self, input_shape):
        return input_shape

    def _hidden(self, x):
        return activations.get(self.activation)(self._product("wi", x))

    def _product(self, name, x):
        """Returns `x` `(..., in)` times the kernel of a name, `(..., out)`."""

        def update(a, b):
            tokens = ("batch", "length")[: len(x.shape) - 1]
            return ops.matmul(constrain(ops.matmul(x, a), *tokens, None), b)

        y = ops.matmul(x, gathered(getattr(self, name)))
        return self._adapted(name, y, update)

    def _kernel(self, name, shape, dims):
        return self.add_param(name, shape, dims, ScaledTruncatedNormal(self.init_scale))
