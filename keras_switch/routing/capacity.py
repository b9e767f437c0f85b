"""Expert capacity: how many rows an expert serves in each routing group."""

import dataclasses
import math

import keras

from keras_switch.routing.part import Part, at_least, one_of

ROUNDINGS = {"floor": math.floor, "round": round, "ceil": math.ceil}


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class CapacityFactor(Part):
    """Capacity as a multiple of an even share of the group's tokens.

    Args:
        train: factor in training.
        eval: factor in evaluation and inference.
        minimum: least number of rows, but never more than the group (see
            `at_most_group`).
        rounding: `"floor"` (Mesh TensorFlow), `"round"` (flaxformer and Model Garden;
            a half goes to the even neighbour) or `"ceil"` (V-MoE).
        per_choice: number that the share counts choices (V-MoE, GShard's paper)
            instead of tokens (Mesh TensorFlow, flaxformer).
        multiple_of: the result is raised to a multiple of this. V-MoE uses 4.
        at_most_group: no more rows than tokens in the group, after everything else. A
            token visits an expert at most once, so that this never drops a token.
    """

    train: float = 1.25
    eval: float = 2.0
    minimum: int = 4
    rounding: str = "floor"
    per_choice: bool = False
    multiple_of: int = 1
    at_most_group: bool = True

    def __post_init__(self):
        one_of(self, "rounding", self.rounding, ROUNDINGS)
        at_least(self, "train", self.train, 0)
        at_least(self, "eval", self.eval, 0)
        at_least(self, "minimum", self.minimum, 0)
        at_least(self, "multiple_of", self.multiple_of, 1)

    def rows(self, group_size, num_experts, num_choices=1, training=False) -> int:
        """Returns the rows of one expert for a group of `group_size` tokens."""
        factor = self.train if training else self.eval
        share = group_size * (num_choices if self.per_choice else 1)
        rows = int(ROUNDINGS[self.rounding](share * factor / num_experts))
        rows = max(rows, self.minimum, 1)
        rows = math.ceil(rows / self.multiple_of) * self.multiple_of
        return min(rows, group_size) if self.at_most_group else rows


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class FixedCapacity(Part):
    """Capacity as an absolute number, as in Hugging Face's Switch Transformers.

    Args:
        size: rows of an expert in each group. A smaller group needs no more rows than
            it has tokens.
    """

    size: int = 64

    def __post_init__(self):
        at_least(self, "size", self.size, 1)

    def rows(self, group_size, num_experts, num_choices=1, training=False) -> int:
        """Returns the rows of one expert for a group of `group_size` tokens."""
        del num_experts, num_choices, training
        return min(self.size, group_size)
