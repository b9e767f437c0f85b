"""Dispatch without capacity: no token is dropped.

Axes: G routing groups, S tokens in a group, T = G * S tokens, E experts, K choices of a
token, N blocks, R rows in a block, D model width.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_switch.dispatch.grouped import GroupedRoute
from keras_switch.dispatch.routes import GatherRoute
from keras_switch.partitioning import on_mesh
from keras_switch.routing.part import Part

# Rows of a block, by choices per expert. A block costs a copy of its expert's weights,
# whatever its rows; each expert wastes half a block of rows. The two balance where
# rows^2 is about 64 times the choices per expert (the wider the machine
# is in arithmetic, the larger).
BLOCKS = ((2, 16), (16, 32), (64, 64), (256, 128), (1024, 256))


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class DroplessDispatch(Part):
    """Sorts tokens by expert, in blocks that each belong to one expert.

    After MegaBlocks (arXiv:2211.15841, section 5): instead of a capacity, each expert
    gets as many blocks as its tokens fill. Shapes are static all the same: N is what
    the worst spread of tokens needs. With fewer choices than experts (decoding) a block
    is one row, and the cost does not grow with the number of experts. On a mesh each
    expert gets rows for all tokens of a group instead, E times as many: it is for
    evaluation there.

    Args:
        block_size: rows of a block; `None`: by the number of tokens and experts.

    Raises:
        ValueError: if `block_size` is not positive.
    """

    block_size: int | None = None
    drops: ClassVar[bool] = False
    """False: the assignment needs no capacity."""

    def __post_init__(self):
        if self.block_size is not None and self.block_size < 1:
            raise ValueError(
                f"DroplessDispatch got block_size={self.block_size}: give a positive "
                "number of rows, or None to have it chosen."
            )

    def blocks(self, num_choices, num_experts):
        """Returns N and R: blocks that hold the choices, however they are spread.

        Args:
            num_choices: choices that can be kept, at most.
            num_experts: E.
        """
        size = self.block_size or rows_of_blocks(num_choices, num_experts, 1, BLOCKS)
        return most_blocks(num_choices, num_experts, size), size

    def route(self, assignment):
        """Returns the route of an assignment; see `dispatch/__init__.py`."""
        if on_mesh():
            return _roomy(assignment)
        return self._blockwise(assignment)[0]

    def _blockwise(self, assignment):
        """Returns a `GatherRoute`, and how many of its blocks have rows."""
        num_groups, num_tokens, num_choices = ops.shape(assignment.gate)
        num_experts = assignment.num_experts
        flat = (num_groups * num_tokens, num_choices)
        total = flat[0] * num_choices
        most, crowded = _most_kept(assignment)
        num_blocks, size = self.blocks(most, num_experts)

        kept = ops.reshape(assignment.kept, flat)
        expert = ops.where(kept, ops.reshape(assignment.expert, flat), num_experts)
        expert = ops.reshape(expert, (-1,))  # (T * K,)
        # Sorted by expert, the choices of expert e start at start[e]; its blocks end
        # before block last[e]. Choices that are not kept come last.
        order, start, count = _by_expert(expert, num_experts)
        blocks = (count + size - 1) // size
        last = ops.cumsum(blocks)
        first = last - blocks

        block = ops.arange(num_blocks, dtype="int32")
        owner = ops.cast(ops.searchsorted(last, block, side="right"), "int32")
        owner = ops.minimum(owner, num_experts - 1)  # (N,)
        within = (
            ops.arange(size, dtype="int32")
            + ((block - ops.take(first, owner)) * size)[..., None]
        )
        filled = ops.less(within, ops.take(count, owner)[..., None])  # (N, R)
        at = ops.where(filled, ops.take(start, owner)[..., None] + within, 0)
        choice = ops.where(filled, ops.take(order, at), total)

        # Back: choice order[i] is the (i - start)-th of its expert.
        served = ops.minimum(expert, num_experts - 1)
        rank = ops.cast(ops.argsort(order), "int32") - ops.take(start, served)
        row = ops.where(
            ops.less(expert, num_experts), ops.take(first, served) * size + rank, 0
        )
        route = GatherRoute(
            groups=(num_groups, num_tokens),
            blocks=(num_blocks, size),
            owner=owner,
            choice=ops.reshape(choice, (-1,)),
            row=ops.reshape(row, flat),
            kept=kept,
            gate=ops.reshape(assignment.gate, flat),
            crowded=crowded,
        )
        return route, last[-1]


def _roomy(assignment):
    """Returns a route with rows for all of a group's tokens in every expert.

    It drops none either. Blocks of one expert would gather weights from all devices.
    """
    capacity = assignment.capacity or ops.shape(assignment.gate)[1]
    return GroupedRoute(dataclasses.replace(assignment, capacity=capacity).slots())


def _most_kept(assignment):
    """Returns how many choices can be kept, and whether that is less than half."""
    num_groups, num_tokens, num_choices = ops.shape(assignment.gate)
    total = num_groups * num_tokens * num_choices
    if assignment.capacity is None:
        return total, False
    rows = assignment.num_experts * assignment.capacity  # of a group
    most = smaller(total, num_groups * rows)
    return most, num_tokens * num_choices > 2 * rows


def _by_expert(expert, num_experts):
    """Returns the order of choices by expert, and each expert's start and count there.

    Args:
        expert: `(T * K,)` int32; `num_experts` where a choice is not kept.
        num_experts: E.
    """
    order = ops.cast(ops.argsort(expert), "int32")
    experts = ops.arange(num_experts + 1, dtype="int32")
    start = ops.cast(ops.searchsorted(ops.take(expert, order), experts), "int32")
    return order, start, start[1:] - start[:-1]


def rows_of_blocks(num_choices, num_experts, size, larger):
    """Returns R, an int, or a scalar tensor where the number of tokens is one.

    Args:
        num_choices: T * K.
        num_experts: E.
        size: R where experts have few choices.
        larger: pairs of choices per expert, ascending, and R from there on.
    """
    each = num_choices // num_experts
    for choices, rows in larger:
        enough = each >= choices
        if isinstance(enough, bool):
            size = rows if enough else size
        else:
            size = ops.where(enough, rows, size)
    return size


def most_blocks(num_choices, num_experts, size):
    """Returns N: the sum of ceil(n_e / size) over experts is never more."""
    nonempty = smaller(num_choices, num_experts)
    return (num_choices + nonempty * (size - 1)) // size


def smaller(a, b):
    """Returns the smaller number, an int if both are."""
    known = isinstance(a, int) and isinstance(b, int)
    return min(a, b) if known else ops.minimum(a, b)
