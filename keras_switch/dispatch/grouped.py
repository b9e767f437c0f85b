"""Dispatch by index on a mesh: groups stay on their devices, rows travel to experts.

`GatherRoute` numbers tokens over all groups, which on a mesh would bring all tokens to
every device. Here each group gathers among its own tokens, forwards and backwards, and
what crosses devices are the rows of experts: one exchange there, one back.

Axes: G routing groups, S tokens in a group, K choices of a token, E experts,
C capacity, M = E * C rows of a group, D model width.
"""

import dataclasses
from typing import Any, ClassVar

from keras import ops

from keras_switch.dispatch.routes import Route
from keras_switch.partitioning import constrain
from keras_switch.partitioning.gathers import take_rows

AT_HOME = (None, "batch", "capacity", "d_model")  # all experts' rows of my groups
AT_EXPERTS = ("experts", "batch", "capacity", "d_model")  # my experts' rows


@dataclasses.dataclass(frozen=True)
class GroupedRoute(Route):
    """Moves tokens by index within each group.

    Args:
        slots: `Slots` of an assignment.
    """

    slots: Any
    owner: ClassVar[None] = None

    def dispatch(self, x):
        """Returns the rows of `x (G, S, D)`, `(E, G * C, D)`; 0 where one is empty."""
        _, num_experts, capacity = self.slots.source.shape
        groups, width = ops.shape(x)[0], x.shape[-1]
        rows = spread(x, *self._maps())  # (G, M, D)
        rows = constrain(rows, "batch", None, "d_model")
        rows = ops.reshape(rows, (groups, num_experts, capacity, width))
        rows = exchanged(ops.transpose(rows, (1, 0, 2, 3)), AT_HOME, AT_EXPERTS)
        return ops.reshape(rows, (num_experts, groups * capacity, width))

    def combine(self, rows):
        """Returns the weighted sum of each token's answers, `(G, S, D)`."""
        groups, num_experts, capacity = ops.shape(self.slots.source)
        width = rows.shape[-1]
        rows = ops.reshape(rows, (num_experts, groups, capacity, width))
        rows = exchanged(rows, AT_EXPERTS, AT_HOME)
        rows = ops.transpose(rows, (1, 0, 2, 3))
        rows = ops.reshape(rows, (groups, num_experts * capacity, width))
        rows = constrain(rows, "batch", None, "d_model")
        y = collect(rows, self.slots.gate, *self._maps())
        return constrain(y, "batch", "length", "d_model")

    def _maps(self):
        """Returns `choice (G, M)`, `filled (G, M)`, `row (G, S, K)`, `kept`."""
        slots = self.slots
        flat = (ops.shape(slots.source)[0], -1)
        choice = constrain(ops.reshape(slots.source, flat), "batch", None)
        filled = constrain(ops.reshape(slots.filled, flat), "batch", None)
        row = constrain(slots.row, "batch", None, None)
        return choice, filled, row, constrain(slots.kept, "batch", None, None)


def exchanged(rows, before, after):
    """Returns rows `(E, G, C, D)` laid out anew; said before and after, or it gathers.

    With experts and batch on the same axis of the mesh this is an all-to-all.
    """
    return constrain(constrain(rows, *before), *after)


def spread(x, choice, filled, row, kept):
    """Returns `(G, M, D)`: each row's token of `x (G, S, D)`, or 0 where it is empty.

    Args:
        x: `(G, S, D)`.
        choice: `(G, M)` int32, the choice that fills each row, an index into the
            flattened S * K.
        filled: `(G, M)` bool.
        row: `(G, S, K)` int32, the row that serves each choice.
        kept: `(G, S, K)` bool.
    """

    @ops.custom_gradient
    def spread(x, choice, filled, row, kept):
        def grad(upstream):
            dx = _summed(upstream, ops.cast(kept, "float32"), row)
            return dx, None, None, None, None

        rows = _taken(x, choice // row.shape[2])
        return rows * ops.cast(filled, x.dtype)[..., None], grad

    return spread(x, choice, filled, row, kept)


def collect(rows, gate, choice, filled, row, kept):
    """Returns `(G, S, D)`: the sum of each token's `rows (G, M, D)` times its gates.

    Summed in float32, cast to the dtype of `rows`. For the maps see `spread`.
    """

    @ops.custom_gradient
    def collect(rows, gate, choice, filled, row, kept):
        served = ops.cast(kept, "float32")
        weight = served * gate

        def grad(upstream):
            picked = ops.cast(_picked(rows, row), "float32")  # (G, S, K, D)
            along = ops.expand_dims(ops.cast(upstream, "float32"), 2)
            d_gate = served * ops.sum(picked * along, axis=-1)
            dy = ops.cast(_taken(upstream, choice // row.shape[2]), "float32")
            by_choice = ops.reshape(weight, (ops.shape(weight)[0], -1))
            by_row = _taken(by_choice[..., None], choice)
            d_rows = dy * by_row * ops.cast(filled, "float32")[..., None]
            return ops.cast(d_rows, rows.dtype), d_gate, None, None, None, None

        return _summed(rows, weight, row), grad

    return collect(rows, gate, choice, filled, row, kept)


def _picked(rows, row):
    """Returns the row that serves each choice, `(G, S, K, D)`."""
    groups, num_tokens, num_choices = ops.shape(row)
    flat = ops.reshape(row, (groups, num_tokens * num_choices))
    shape = (groups, num_tokens, num_choices, rows.shape[-1])
    return ops.reshape(_taken(rows, flat), shape)


def _summed(rows, weight, row):
    """Returns `sum_k weight[..., k] * rows[row[..., k]]`, `(G, S, D)`."""
    y = ops.sum(ops.cast(_picked(rows, row), "float32") * weight[..., None], axis=2)
    return ops.cast(y, rows.dtype)


def _taken(x, index):
    """Returns `(G, M, D)`: rows of `x (G, S, D)`, both laid out as groups are.

    Where `d_model` of weights is split over the axis of the batch, a gather would
    otherwise be asked for an output that DTensor cannot make.
    """
    x = constrain(x, "batch", None, "d_model")
    return constrain(take_rows(x, index), "batch", None, "d_model")
