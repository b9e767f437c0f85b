"""Routing groups: tokens that compete for the same experts' rows.

Axes: B batch, L length, G routing groups, S tokens in a group, D anything.
"""

import dataclasses
import math

import keras
from keras import ops

from keras_switch.routing.part import Part, at_least


class Groups(Part):
    """Base of the rules by which a batch of tokens becomes routing groups."""

    def split(self, x, mask=None):
        """Returns `x` and `mask` in groups, `(G, S, D)` and `(G, S)` bool or `None`.

        Args:
            x: `(B, L, D)`.
            mask: `(B, L)` bool, true for real tokens, or `None`: all are. Tokens that
                are added to fill a group are not real.
        """
        raise NotImplementedError

    def check(self, shape):
        """Raises `ValueError` if tokens of this shape can never be split."""

    def join(self, x, like):
        """Returns `x (G, S, D)` in the places that `like (B, L, ...)` had before."""
        batch, length = ops.shape(like)[:2]
        x = ops.reshape(x, (-1, x.shape[-1]))[: batch * length, :]
        return ops.reshape(x, (batch, length, x.shape[-1]))


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class BySequence(Groups):
    """One group per sequence: a result never depends on the rest of the batch."""

    def check(self, shape):
        if len(shape) == 3 and shape[1] is None:
            raise ValueError(
                f"BySequence got tokens of shape {tuple(shape)}: the capacity of an "
                "expert needs a fixed sequence length. Pad the batches to one length "
                "(give keras.Input that length), or use groups=FixedGroups(size)."
            )

    def split(self, x, mask=None):
        return x, mask

    def join(self, x, like):
        return x


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class FixedGroups(Groups):
    """Groups of exactly `size` tokens over the flattened batch, filled up at its end.

    The same groups on every number of devices. A batch known to be smaller is one group
    of its own size.

    Args:
        size: tokens in a group.

    Raises:
        ValueError: if `size` is not positive.
    """

    size: int

    def __post_init__(self):
        at_least(self, "size", self.size, 1)

    def split(self, x, mask=None):
        batch, length = ops.shape(x)[:2]
        num_tokens = batch * length
        known = isinstance(num_tokens, int)
        size = min(self.size, num_tokens) if known else self.size
        padding = -num_tokens % size
        if not (known and padding == 0) and mask is None:
            mask = ops.ones((batch, length), "bool")
        return _grouped(x, size, padding), _grouped(mask, size, padding)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class MeshTensorFlowGroups(Groups):
    """Mesh TensorFlow's groups: about `max_size` tokens, and nothing to fill up.

    The least number of groups, from `tokens // max_size` on, that divides the tokens of
    the flattened batch (`_split_into_groups`, on one device). Despite the name, a group
    may have more than `max_size` tokens: 30 tokens and 16 make one group.

    Args:
        max_size: tokens in a group, about.

    Raises:
        ValueError: if `max_size` is not positive.
    """

    max_size: int = 1024

    def __post_init__(self):
        at_least(self, "max_size", self.max_size, 1)

    def split(self, x, mask=None):
        num_tokens = math.prod(_static(self, x))
        num_groups = max(1, num_tokens // self.max_size)
        while num_tokens % num_groups:
            num_groups += 1
        size = num_tokens // num_groups
        return _grouped(x, size), _grouped(mask, size)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class FlaxformerGroups(Groups):
    """Flaxformer's groups: their number is a multiple of the number of experts.

    The least such number, from `tokens // max_size` on, that divides the tokens
    (`_num_groups`, one replica). If the number of experts does not divide the tokens,
    the batch or the sequences are lengthened first, whichever takes fewer tokens
    (`_maybe_pad`).

    Args:
        max_size: tokens in a group, about.
        num_experts: experts in the layer.

    Raises:
        ValueError: if an argument is not positive.
    """

    max_size: int
    num_experts: int

    def __post_init__(self):
        at_least(self, "max_size", self.max_size, 1)
        at_least(self, "num_experts", self.num_experts, 1)

    def split(self, x, mask=None):
        batch, length = _static(self, x)
        more = self._padding(batch, length)
        if any(more):
            if mask is None:
                mask = ops.ones((batch, length), "bool")
            x = ops.pad(x, ((0, more[0]), (0, more[1]), (0, 0)))
            mask = ops.pad(mask, ((0, more[0]), (0, more[1])))
        num_tokens = (batch + more[0]) * (length + more[1])
        num_groups = max(num_tokens // self.max_size, self.num_experts)
        while num_tokens % num_groups or num_groups % self.num_experts:
            num_groups += 1
        size = num_tokens // num_groups
        return _grouped(x, size), _grouped(mask, size)

    def join(self, x, like):
        batch, length = _static(self, like)
        more = self._padding(batch, length)
        x = ops.reshape(x, (batch + more[0], length + more[1], x.shape[-1]))
        return x[:batch, :length, :]

    def _padding(self, batch, length):
        """Returns the sequences, and the tokens of each sequence, to add."""
        if batch * length % self.num_experts == 0:
            return 0, 0
        # What makes one factor a multiple of `step` makes the product one of E.
        rows = -batch % (self.num_experts // math.gcd(length, self.num_experts))
        columns = -length % (self.num_experts // math.gcd(batch, self.num_experts))
        return (rows, 0) if rows * length < columns * batch else (0, columns)


def _static(groups, x):
    """Returns B and L of `x`, or raises `ValueError` if one is not known."""
    batch, length = x.shape[:2]
    if batch is None or length is None:
        raise ValueError(
            f"{type(groups).__name__} got tokens of shape {tuple(x.shape)}: the "
            "original's arithmetic needs a fixed batch and a fixed length. Fix both "
            "(batch_size= of keras.Input, drop_remainder=True of the dataset), or use "
            "BySequence() or FixedGroups(size)."
        )
    return batch, length


def _grouped(x, size, padding=0):
    """Returns `x (B, L, ...)` as `(G, size, ...)`, with `padding` zeros at its end."""
    if x is None:
        return None
    rest = x.shape[2:]
    if not isinstance(padding, int) or padding:
        x = ops.reshape(x, (-1, *rest))
        x = ops.concatenate([x, ops.zeros((padding, *rest), x.dtype)])
    return ops.reshape(x, (-1, size, *rest))
