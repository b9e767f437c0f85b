"""What a routing policy decides: which token visits which expert, where, how much.

Axes: G routing groups, S tokens in a group, E experts, C capacity (rows an expert
serves per group), K choices of a token.
"""

import dataclasses
from typing import Any

from keras import ops

from keras_switch.routing.queues import by_owner, indicator, real_tokens


@dataclasses.dataclass(frozen=True)
class Slots:
    """An assignment as indices in both directions, for gathers.

    Args:
        row: `(G, S, K)` int32 in [0, E * C): the row `expert * C + place` that serves
            this choice; 0 where the choice is not kept.
        kept: `(G, S, K)` bool, true where an expert serves the choice.
        gate: `(G, S, K)` float32, weight of the expert's answer.
        source: `(G, E, C)` int32, the choice that fills this row: an index into the
            flattened `(S * K)` choices; some valid index where the row is not filled.
        filled: `(G, E, C)` bool, true where a choice fills the row.
    """

    row: Any
    kept: Any
    gate: Any
    source: Any
    filled: Any


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Who goes where. For policies in which experts choose, K is E.

    Args:
        logits: `(G, S, E)` float32, as the router gave them.
        probs: `(G, S, E)` float32, the probabilities that decided.
        mask: `(G, S)` bool, true for real tokens, or float importances, of which 1 is
            real; `None`: all tokens are.
        gate: `(G, S, K)` float32, weight of the expert's answer.
        expert: `(G, S, K)` int32, experts asked for, best first.
        place: `(G, S, K)` int32, place in that expert's queue; -1: stands in none.
        capacity: rows C that an expert serves per group; `None`: as many as come.
        num_experts: E.
        noisy_logits: `(G, S, E)` float32, the logits after noise, if any.
    """

    logits: Any
    probs: Any
    mask: Any
    gate: Any
    expert: Any
    place: Any
    capacity: int | None
    num_experts: int
    noisy_logits: Any = None

    @property
    def kept(self):
        """`(G, S, K)` bool, true where an expert serves the choice."""
        asked = ops.greater_equal(self.place, 0)
        if self.capacity is None:
            return asked
        return ops.logical_and(asked, ops.less(self.place, self.capacity))

    @property
    def real(self):
        """`(G, S)` float32, 1 for real tokens, 0 for padding."""
        if self.mask is None:
            return ops.ones_like(self.logits[..., 0])
        return real_tokens(self.mask)

    def one_hot(self):
        """Returns dispatch and combine, `(G, S, E, C)` float32 each.

        Raises:
            ValueError: if the assignment has no capacity.
        """
        capacity = self._rows("one_hot()")
        expert = indicator(self.expert, self.num_experts)  # (G, S, K, E)
        # Place -1, and places from C on, are rows of zeros: not served.
        place = indicator(self.place, capacity)  # (G, S, K, C)
        gate = self.gate[..., None]
        dispatch = ops.einsum("gske,gskc->gsec", expert, place)
        combine = ops.einsum("gske,gskc->gsec", expert, place * gate)
        return dispatch, combine

    def slots(self):
        """Returns the assignment as indices, `Slots`.

        Raises:
            ValueError: if the assignment has no capacity.
        """
        capacity = self._rows("slots()")
        kept = self.kept
        row = self.expert * capacity + self.place
        source, filled = _sources(row, kept, self.num_experts, capacity)
        return Slots(ops.where(kept, row, 0), kept, self.gate, source, filled)

    def _rows(self, view):
        if self.capacity is None:
            raise ValueError(
                f"This assignment was made with capacity=None (dropless): {view} needs "
                "a number of rows per expert. Call policy.assign(..., capacity=n), or "
                "use a dispatcher that needs no capacity."
            )
        return self.capacity


def _sources(row, kept, num_experts, capacity):
    """Inverts `row` without a scatter; `source`, `filled`, `(G, E, C)` each.

    Sorted by row, the choices that expert e keeps lie side by side from the number of
    choices that the experts before it keep.
    """
    _, num_tokens, num_choices = ops.shape(row)
    key = ops.where(kept, row, num_experts * capacity)
    key = ops.reshape(key, (-1, num_tokens * num_choices))
    order, count, start = by_owner(key, key // capacity, num_experts)
    c = ops.arange(capacity, dtype="int32")
    filled = ops.less(c, count[..., None])  # (G, E, C)
    at = ops.where(filled, start[..., None] + c, 0)
    at = ops.reshape(at, (-1, num_experts * capacity))
    source = ops.take_along_axis(order, at, axis=1)
    return ops.reshape(source, (-1, num_experts, capacity)), filled
