"""Dispatch by one-hot matrix products, as in Mesh TensorFlow.

Axes: G routing groups, S tokens in a group, E experts, C capacity, D model width.
"""

import dataclasses
from typing import Any, ClassVar

import keras
from keras import ops

from keras_switch.dispatch.grouped import AT_EXPERTS, AT_HOME, exchanged
from keras_switch.dispatch.routes import Route
from keras_switch.routing.part import Part


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class EinsumDispatch(Part):
    """One-hot matrix products: what accelerators with wide matrix units like.

    Costs 2 * E * C * D multiplications a token each way: the cost grows with the size
    of the group (E * C is about 1.25 * S).
    """

    drops: ClassVar[bool] = True
    """False: the assignment needs no capacity."""

    def route(self, assignment):
        """Returns the route of an assignment; see `dispatch/__init__.py`."""
        return EinsumRoute(*assignment.one_hot())


@dataclasses.dataclass(frozen=True)
class EinsumRoute(Route):
    """Moves tokens by matrix products, both ways.

    Args:
        to_rows: `(G, S, E, C)` float32 of 0 and 1.
        to_tokens: `(G, S, E, C)` float32, gates.
    """

    to_rows: Any
    to_tokens: Any
    owner: ClassVar[None] = None

    def dispatch(self, x):
        """Returns the rows of `x (G, S, D)`, `(E, G * C, D)`; 0 where one is empty."""
        rows = ops.einsum("gsec,gsd->egcd", ops.cast(self.to_rows, x.dtype), x)
        rows = exchanged(rows, AT_HOME, AT_EXPERTS)
        num_experts, capacity = self.to_rows.shape[2:]
        num_rows = ops.shape(x)[0] * capacity
        return ops.reshape(rows, (num_experts, num_rows, x.shape[-1]))

    def combine(self, rows):
        """Returns the weighted sum of each token's answers, `(G, S, D)`."""
        num_experts, capacity = self.to_tokens.shape[2:]
        shape = (num_experts, -1, capacity, rows.shape[-1])
        by_group = exchanged(ops.reshape(rows, shape), AT_EXPERTS, AT_HOME)
        by_group = ops.cast(by_group, "float32")
        y = ops.einsum("gsec,egcd->gsd", self.to_tokens, by_group)
        return ops.cast(y, rows.dtype)
