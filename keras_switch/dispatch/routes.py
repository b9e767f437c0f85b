"""Routes: one assignment, ready to move token vectors.

Axes: G routing groups, S tokens in a group, T = G * S tokens, K choices of a token,
N blocks of rows with one owner each, R rows in a block, D model width.
"""

import dataclasses
from typing import Any

from keras import ops

from keras_switch.dispatch import gathers


class Route:
    """Moves tokens of one assignment; a subclass says how, and has an `owner`."""

    def run(self, experts, rows, training=False):
        """Returns the answers of a layer `experts` to rows, `(N, R, D)`."""
        return experts(rows, owner=self.owner, training=training)


@dataclasses.dataclass(frozen=True)
class GatherRoute(Route):
    """Moves tokens by index, both ways.

    Args:
        groups: (G, S).
        blocks: (N, R).
        owner: `(N,)` int32, the expert that owns each block; `None`: N is E and block
            e belongs to expert e.
        choice: `(N * R,)` int32, the choice that fills each row, an index into the
            flattened `T * K`; `T * K` where none does.
        row: `(T, K)` int32, the row that serves each choice; some valid row where the
            choice is not kept.
        kept: `(T, K)` bool.
        gate: `(T, K)` float32, weight of the answer.
        crowded: whether most choices have no row: experts choose, and K is E. The cost
            then follows the rows, not the choices.
    """

    groups: tuple
    blocks: tuple
    owner: Any
    choice: Any
    row: Any
    kept: Any
    gate: Any
    crowded: bool = False

    def dispatch(self, x):
        """Returns the rows of `x (G, S, D)`, `(N, R, D)`; 0 where a row is empty."""
        x = ops.reshape(x, (-1, x.shape[-1]))
        rows = gathers.spread(x, self.choice, self.row, self.kept, self.crowded)
        return ops.reshape(rows, (*self.blocks, x.shape[-1]))

    def combine(self, rows):
        """Returns the weighted sum of each token's answers, `(G, S, D)`."""
        rows = ops.reshape(rows, (-1, rows.shape[-1]))
        maps = self.choice, self.row, self.kept, self.crowded
        y = gathers.collect(rows, self.gate, *maps)
        return ops.reshape(y, (*self.groups, rows.shape[-1]))
