"""Rotary position embedding.

Axes: B batch, L length, H heads.
"""

import keras
from keras import ops

from keras_switch.layers.base import Layer


@keras.saving.register_keras_serializable("keras_switch")
class Rotary(Layer):
    """Turns queries and keys by angles that grow with position.

    The scalar product of a query and a key then depends on positions only through
    their distance (arXiv:2104.09864, section 3.2.2). Coordinate i is paired with
    coordinate i + d_kv / 2, as in T5X and GPT-NeoX; the paper pairs neighbours, which
    is the same up to the order of coordinates. Angles are float32.

    Args:
        max_wavelength: period of the slowest pair, in tokens over 2 pi.

    Call arguments:
        x: `(B, L, H, d_kv)`, d_kv even.
        positions: `(L,)` or `(B, L)` int.

    Raises:
        ValueError: if d_kv is odd.
    """

    def __init__(self, max_wavelength=10_000, **kwargs):
        super().__init__(**kwargs)
        self.max_wavelength = max_wavelength
        self.built = True

    def call(self, x, positions):
        d_kv = x.shape[-1]
        if d_kv % 2:
            raise ValueError(
                f"{self.name!r} got vectors of {d_kv} coordinates: it turns pairs of "
                "them, so d_kv must be even."
            )
        angles = self._angles(positions, d_kv // 2)
        cos, sin = ops.cos(angles), ops.sin(angles)
        left, right = ops.split(ops.cast(x, "float32"), 2, axis=-1)
        turned = [left * cos - right * sin, right * cos + left * sin]
        return ops.cast(ops.concatenate(turned, axis=-1), self.compute_dtype)

    def compute_output_shape(self, x_shape, positions_shape):
        return x_shape

    def _angles(self, positions, pairs):
        """Returns `(L or B, L; 1, pairs)` float32."""
        exponents = ops.arange(pairs, dtype="float32") / pairs
        frequencies = ops.power(float(self.max_wavelength), -exponents)
        angles = ops.expand_dims(ops.cast(positions, "float32"), -1) * frequencies
        return ops.expand_dims(angles, axis=-2)
