"""Relative position bias of T5.

Axes: Q queries, Kl keys, H heads.
"""

import math

import keras
from keras import ops

from keras_switch.layers.base import Layer
from keras_switch.partitioning import gathered


@keras.saving.register_keras_serializable("keras_switch")
class RelativeBias(Layer):
    """One learned number per head and distance bucket, added to attention logits.

    Near distances have a bucket each, farther ones share buckets of logarithmic width
    (arXiv:1910.10683, section 2.1). One instance serves a whole stack.

    Args:
        num_heads: heads of the attention layers that use it.
        num_buckets: distances told apart.
        max_distance: from here on, in tokens, all distances share the last bucket.
        bidirectional: whether keys after the query have buckets of their own; false
            for causal stacks.

    Call arguments:
        query_positions: `(Q,)` int.
        key_positions: `(Kl,)` int.

    Returns:
        `(1, H, Q, Kl)`.

    Raises:
        ValueError: if there are too few buckets, or more than distances.
    """

    def __init__(
        self,
        num_heads,
        num_buckets=32,
        max_distance=128,
        bidirectional=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        exact = num_buckets // (4 if bidirectional else 2)
        if exact < 1 or max_distance <= exact:
            raise ValueError(
                f"{self.name!r} got num_buckets={num_buckets} and max_distance="
                f"{max_distance}: give at least {4 if bidirectional else 2} buckets, "
                f"and a distance greater than the {exact} that have one each."
            )

    def build(self, query_positions_shape=None, key_positions_shape=None):
        self.embedding = self.add_param(
            "embedding",
            (self.num_heads, self.num_buckets),
            ("heads", "buckets"),
            "glorot_uniform",
        )

    def call(self, query_positions, key_positions):
        offsets = ops.expand_dims(key_positions, axis=0) - ops.expand_dims(
            query_positions, axis=1
        )
        buckets = relative_position_buckets(
            offsets, self.num_buckets, self.max_distance, self.bidirectional
        )
        bias = ops.take(gathered(self.embedding), buckets, axis=1)  # (H, Q, Kl)
        return ops.expand_dims(bias, axis=0)

    def compute_output_shape(self, query_positions_shape, key_positions_shape):
        return (1, self.num_heads, query_positions_shape[0], key_positions_shape[0])


def relative_position_buckets(offsets, num_buckets, max_distance, bidirectional):
    """Returns the bucket of each offset, int32, of the same shape.

    Args:
        offsets: int, position of the key minus position of the query.
        num_buckets: see `RelativeBias`, also for the others.
        max_distance: in tokens.
        bidirectional: whether offsets above 0 have buckets of their own.
    """
    offsets = ops.cast(offsets, "int32")
    if bidirectional:
        num_buckets //= 2
        after = ops.cast(offsets > 0, "int32") * num_buckets
        distance = ops.abs(offsets)
    else:
        after = 0
        distance = ops.maximum(-offsets, 0)
    exact = num_buckets // 2
    # The quotients in float32 and in this order: another order moves distances that
    # lie on the border of two buckets.
    far = ops.cast(ops.maximum(distance, exact), "float32") / exact
    far = ops.log(far) / math.log(max_distance / exact) * (num_buckets - exact)
    far = ops.minimum(exact + ops.cast(far, "int32"), num_buckets - 1)
    return after + ops.where(distance < exact, distance, far)
