"""No-Token-Left-Behind routing (Switch Transformer, arXiv:2101.03961, appendix B).

Axes: G routing groups, S tokens in a group, E experts, K choices of a token.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.exploration import Exploration, InputJitter
from keras_switch.routing.part import at_least
from keras_switch.routing.queues import indicator, places, real_tokens
from keras_switch.routing.token_choice import TokenChoice, best_experts, gates


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class NoTokenLeftBehind(TokenChoice):
    """One expert a token; a token whose expert is full tries its next best.

    Its gate is the raw probability of the expert that takes it. The balance loss is
    the mean over the k rounds. Source: Mesh TensorFlow, `_ntlb_gating`.

    Args:
        k: experts a token tries, at most.
        **kwargs: see `TokenChoice`, `RouterPolicy` and `Policy`.
    """

    k: int = 4
    _: dataclasses.KW_ONLY
    exploration: Exploration = InputJitter()

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "k", self.k, 1)

    def balance(self, assignment):
        every = ops.mean(indicator(assignment.expert, assignment.num_experts), axis=2)
        return losses.balance_loss(
            assignment.probs, every, assignment.real, self.padding
        )

    def _check_choices(self, num_experts):
        if self.k > num_experts:
            raise ValueError(
                f"NoTokenLeftBehind tries k={self.k} experts a token, but there are "
                f"only {num_experts}. Lower k or add experts."
            )

    def _choose(self, probs, scores, mask, capacity, training, seed):
        del training, seed
        expert = best_experts(scores, self.k)
        gate = gates(probs, expert)
        left = ops.ones_like(gate[..., 0], dtype="bool")  # (G, S), not yet served
        if mask is not None:
            real = real_tokens(mask)
            gate = gate * real[..., None]
            left = ops.greater(real, 0)
        order, num_experts = self._order(gate), probs.shape[-1]
        taken = ops.zeros_like(probs[:, :1, :], dtype="int32")  # (G, 1, E)
        rounds = []
        for i in range(self.k):
            at = indicator(expert[..., i], num_experts, "int32")  # (G, S, E)
            place = places(expert[..., i : i + 1], left[..., None], num_experts, order)
            place = place[..., 0]
            place = ops.where(left, place + ops.sum(at * taken, axis=-1), -1)
            served = left
            if capacity is not None:
                served = ops.logical_and(left, ops.less(place, capacity))
            arrived = at * ops.cast(served, "int32")[..., None]
            taken = taken + ops.sum(arrived, axis=1, keepdims=True)
            left = ops.logical_and(left, ops.logical_not(served))
            rounds.append(place)
        return expert, gate, ops.stack(rounds, axis=-1)
