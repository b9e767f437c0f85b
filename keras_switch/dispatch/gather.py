"""Dispatch by index.

Axes: G routing groups, S tokens in a group, E experts, C capacity, K choices of a
token, D model width.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_switch.dispatch.grouped import GroupedRoute
from keras_switch.dispatch.routes import GatherRoute
from keras_switch.partitioning import on_mesh
from keras_switch.routing.part import Part


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class GatherDispatch(Part):
    """Gathers, forwards and backwards: linear in tokens, whatever the experts' number.

    Shapes are static and nothing is added up by scattering, so that XLA compiles it and
    results repeat bit by bit.
    """

    drops: ClassVar[bool] = True
    """False: the assignment needs no capacity."""

    def route(self, assignment):
        """Returns the route of an assignment; see `dispatch/__init__.py`."""
        slots = assignment.slots()
        if on_mesh():
            return GroupedRoute(slots)
        num_groups, num_tokens, num_choices = ops.shape(slots.gate)
        _, num_experts, capacity = slots.source.shape
        group = ops.reshape(ops.arange(num_groups, dtype="int32"), (-1, 1, 1))

        # Choices and rows are numbered over all groups; rows expert by expert, so that
        # an expert's rows lie together and no token vector is ever transposed.
        choice = slots.source + group * (num_tokens * num_choices)
        choice = ops.where(slots.filled, choice, num_groups * num_tokens * num_choices)
        expert, place = slots.row // capacity, slots.row % capacity
        row = (expert * num_groups + group) * capacity + place
        flat = (num_groups * num_tokens, num_choices)
        return GatherRoute(
            groups=(num_groups, num_tokens),
            blocks=(num_experts, num_groups * capacity),
            owner=None,
            choice=ops.reshape(ops.transpose(choice, (1, 0, 2)), (-1,)),
            row=ops.reshape(row, flat),
            kept=ops.reshape(slots.kept, flat),
            gate=ops.reshape(slots.gate, flat),
            crowded=num_tokens * num_choices > 2 * num_experts * capacity,
        )
