"""Initializers of the original implementation."""

import keras


@keras.saving.register_keras_serializable("keras_switch")
class ScaledTruncatedNormal(keras.initializers.Initializer):
    """Raw normal of standard deviation `sqrt(scale / fan_in)`, cut at two of them.

    Mesh TensorFlow's `VarianceScalingInitializer`, with the scale of arXiv:2101.03961,
    section 2.4. `keras.initializers.VarianceScaling` widens the normal by 1 / 0.8796 to
    make up for the cut; the original does not, and neither does this.

    Args:
        scale: variance times inputs of a unit. The inputs are the axis before the last,
            so that leading axes (experts) do not count.
        seed: integer, or `None` for other values at every call.

    Raises:
        ValueError: if `scale` is not positive.
    """

    def __init__(self, scale=0.1, seed=None):
        if scale <= 0:
            raise ValueError(f"scale={scale} must be positive, for example 0.1.")
        self.scale = scale
        self.seed = seed

    def __call__(self, shape, dtype=None):
        return self.of_shape(shape)(shape, dtype=dtype)

    def of_shape(self, shape):
        """Returns Keras's initializer that gives the same for values of this shape."""
        stddev = (self.scale / shape[-2]) ** 0.5
        return keras.initializers.TruncatedNormal(stddev=stddev, seed=self.seed)

    def get_config(self):
        return {"scale": self.scale, "seed": self.seed}
