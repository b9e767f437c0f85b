"""Weights of experts as 8-bit integers, unpacked expert by expert.

Axes: E experts, N blocks.
"""

from keras import ops


class Int8Blocks:
    """Stands in for a weight of experts while a graph is traced.

    A block's weights are unpacked when it is read: a step of decoding unpacks the
    experts that it runs, and reads a quarter of the bytes.

    Args:
        values: `(E, ...)` int8.
        scale: `(E, ...)` float32, of size 1 along the axis that products sum over.
    """

    def __init__(self, values, scale):
        self.values = values
        self.scale = scale
        self.shape = tuple(values.shape)

    def of(self, owner, dtype):
        """Returns the weights of each block's owner, `(N, ...)`."""
        values = ops.cast(block_of(self.values, owner), "float32")
        return ops.cast(values * block_of(self.scale, owner), dtype)


def block_of(weight, owner):
    """Returns `weight (E, ...)` of each owner `(N,)`; of one without a copy."""
    if owner.shape[0] != 1:
        return ops.take(weight, owner, axis=0)
    start = (*ops.unstack(owner), *(0,) * (len(weight.shape) - 1))
    return ops.slice(ops.copy(weight), start, (1, *weight.shape[1:]))
