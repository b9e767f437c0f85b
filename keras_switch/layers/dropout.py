"""Dropout whose mask is shared along the sequence."""

import keras
from keras import ops

from keras_switch.layers.base import Layer


@keras.saving.register_keras_serializable("keras_switch")
class SequenceDropout(Layer):
    """Drops the same coordinates at every position of a sequence.

    Mesh TensorFlow and T5X share the mask along the axis before the last, the length,
    in the hidden layer of a feed-forward layer, on the branches of a block, and for
    attention probabilities (one mask for all queries). It also spares most of the
    random numbers.

    Args:
        rate: share of coordinates to drop, at least 0 and below 1.

    Call arguments:
        x: `(B, ..., L, D)`, or `(B, D)`, whose rows each have a mask of their own.
        training: nothing is dropped unless this is true.

    Raises:
        ValueError: if `rate` is out of range.
    """

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(
                f"{self.name!r} got dropout rate {rate}: give a share of coordinates "
                "to drop, at least 0 and below 1."
            )
        self.rate = rate
        if rate > 0:
            self.seed_generator = keras.random.SeedGenerator()
        self.built = True

    def call(self, x, training=False):
        if not training or self.rate == 0:
            return x
        shape = list(ops.shape(x))
        if len(shape) > 2:
            shape[-2] = 1
        # Float32 numbers: half precision ones rarely hit the rate exactly, and XLA may
        # round them otherwise when it computes the mask again.
        noise = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return x * ops.cast(noise >= self.rate, x.dtype) * (1 / (1 - self.rate))

    def compute_output_shape(self, input_shape):
        return input_shape
