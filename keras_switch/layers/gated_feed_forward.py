"""The gated feed-forward layer of T5 v1.1 and PaLM.

Axes: B batch, L length, D d_model, F d_ff.
"""

from typing import ClassVar

import keras

from keras_switch.layers import activations
from keras_switch.layers.feed_forward import FeedForward


@keras.saving.register_keras_serializable("keras_switch")
class GatedFeedForward(FeedForward):
    """Feed-forward layer with a gate: `(act(x wi_0) * (x wi_1)) wo`, without biases.

    GEGLU with `activation="gelu"` (T5 v1.1), SwiGLU with `"silu"` (PaLM):
    arXiv:2002.05202.

    Args:
        d_ff: hidden width.
        activation: name or function; see `keras_switch.layers.activations.get`.
        dropout_rate: share of hidden coordinates to drop in training; the mask is
            shared along the length.
        init_scale: scale of the weights' `ScaledTruncatedNormal`.

    Call arguments:
        x: `(B, L, D)` or `(B, D)`.
        mask: not needed; taken so that any layer over tokens can stand here.
        training: whether to drop.
    """

    lora_axes: ClassVar = {"wi_0": (0, 1), "wi_1": (0, 1), "wo": (0, 1)}

    def __init__(
        self, d_ff, activation="gelu", dropout_rate=0.0, init_scale=0.1, **kwargs
    ):
        super().__init__(d_ff, activation, dropout_rate, init_scale, **kwargs)

    def build(self, input_shape):
        d_model, d_ff = input_shape[-1], self.d_ff
        self.wi_0 = self._kernel("wi_0", (d_model, d_ff), ("d_model", "d_ff"))
        self.wi_1 = self._kernel("wi_1", (d_model, d_ff), ("d_model", "d_ff"))
        self.wo = self._kernel("wo", (d_ff, d_model), ("d_ff", "d_model"))
        self._build_lora()

    def _hidden(self, x):
        activate = activations.get(self.activation)
        return activate(self._product("wi_0", x)) * self._product("wi_1", x)
