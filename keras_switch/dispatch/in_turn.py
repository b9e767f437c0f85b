"""Dispatch for inference: experts that have tokens run one after the other.

Axes: T tokens, E experts, K choices of a token, N blocks, R rows in a block, D model
width.
"""

import dataclasses
from typing import Any

import keras
from keras import ops

from keras_switch.dispatch.dropless import (
    DroplessDispatch,
    most_blocks,
    rows_of_blocks,
    smaller,
)
from keras_switch.dispatch.routes import GatherRoute
from keras_switch.partitioning import on_mesh

# Rows of a block, by choices per expert. A block reads its expert's weights once and
# copies nothing, so few rows need no block of their own.
FEWEST = 16
BLOCKS = ((16, 32), (64, 64), (256, 128), (1024, 256))


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class InTurnDispatch(DroplessDispatch):
    """Drops no token, and reads the weights of the experts that have tokens only.

    `DroplessDispatch` copies the weights of every block's expert, in training for the
    sake of gradients and one large product. Here a loop runs over the blocks that have
    rows, and each is multiplied with its expert's weights where they lie: a step of
    decoding reads min(T * K, E) experts at most, whatever E is, and each once. With one
    choice there is no loop. For inference: JAX has no gradient of such a loop.

    On a mesh it is `DroplessDispatch`.

    Args:
        block_size: rows of a block; `None`: by the number of tokens and experts.
    """

    def blocks(self, num_choices, num_experts):
        least = smaller(num_choices, FEWEST)
        size = self.block_size or rows_of_blocks(
            num_choices, num_experts, least, BLOCKS
        )
        return most_blocks(num_choices, num_experts, size), size

    def route(self, assignment):
        if on_mesh():
            return super().route(assignment)
        route, used = self._blockwise(assignment)
        return InTurnRoute(**vars(route), used=used)


@dataclasses.dataclass(frozen=True)
class InTurnRoute(GatherRoute):
    """Moves tokens by index, and runs block after block.

    Args:
        used: int32 scalar, the number of blocks that have rows; they come first.
    """

    used: Any = None

    def run(self, experts, rows, training=False):
        num_blocks, _ = self.blocks
        if isinstance(num_blocks, int) and num_blocks == 1:
            return super().run(experts, rows, training)
        of_block = (1, self.blocks[1], rows.shape[-1])

        def step(i, answers):
            block = ops.slice(rows, (i, 0, 0), of_block)
            owner = ops.slice(self.owner, (i,), (1,))
            answer = experts(block, owner=owner, training=training)
            at = ops.reshape(i, (1, 1))
            return i + 1, ops.scatter_update(answers, at, answer)

        state = ops.zeros((), "int32"), ops.zeros_like(rows)
        return ops.while_loop(lambda i, _: i < self.used, step, state)[1]
