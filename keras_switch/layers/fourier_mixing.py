"""Mixing tokens by a Fourier transform.

Axes: B batch, L length, D d_model.
"""

import keras
from keras import ops

from keras_switch.layers.base import Layer


@keras.saving.register_keras_serializable("keras_switch")
class FourierMixing(Layer):
    """FNet's mixer: real part of the transform over length and model.

    arXiv:2105.03824. No weights. Every token reaches every other one, so it can stand
    neither in a causal stack (`Stack` refuses it there) nor mix packed examples apart:
    give it one example a row. Padding is taken as zeros, so that its content reaches no
    real token; the paper lets it mix in. The transform itself is float32.

    Call arguments:
        x: `(B, L, D)`.
        mask: `(B, L)` bool, true for real tokens, or as attention takes it,
            `(B, 1, Q, Kl)`: a key that no query sees is padding.
        bias: none.
        training: not needed.

    Raises:
        ValueError: if a position bias comes.
    """

    causal = False

    def build(self, input_shape):
        pass

    def call(self, x, mask=None, bias=None, training=False):
        if bias is not None:
            raise ValueError(
                f"{self.name!r} mixes by a Fourier transform and has no attention "
                "logits to add a position bias to: build its stack with position=None."
            )
        x = ops.cast(x, "float32")
        if mask is not None:
            x = x * ops.cast(_real_tokens(mask), "float32")[..., None]
        real, _ = ops.fft2((x, ops.zeros_like(x)))
        return ops.cast(real, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def _real_tokens(mask):
    """Returns the tokens that somebody sees, `(B, L)` bool."""
    return mask if len(mask.shape) == 2 else ops.any(mask, axis=(1, 2))
