"""Root mean square normalization."""

import keras
from keras import ops

from keras_switch.layers.base import Layer
from keras_switch.partitioning import gathered


@keras.saving.register_keras_serializable("keras_switch")
class RMSNorm(Layer):
    """Divides each vector by its root mean square, then scales each coordinate.

    No centering and no bias, as in T5 (arXiv:1910.07467). The statistic, the weight and
    the product are float32 under every dtype policy; the result has the policy's dtype.

    Args:
        epsilon: added to the mean square.

    Call arguments:
        x: `(..., D)`.
    """

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.scale = self.add_param(
            "scale", (input_shape[-1],), ("d_model",), "ones", autocast=False
        )

    def call(self, x):
        x = ops.cast(x, "float32")
        mean_square = ops.mean(ops.square(x), axis=-1, keepdims=True)
        x = x * ops.rsqrt(mean_square + self.epsilon) * gathered(self.scale, "float32")
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape
