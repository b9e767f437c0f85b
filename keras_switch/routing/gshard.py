"""GShard's gating, as Mesh TensorFlow computes it.

Sources: GShard, arXiv:2006.16668, algorithm 1; Mesh TensorFlow, `_top_2_gating` and
(version 0.1.21) `_top_n_gating`.

Axes: G routing groups, S tokens in a group, E experts, K choices of a token.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.part import at_least
from keras_switch.routing.queues import indicator, places, real_tokens
from keras_switch.routing.second import RandomSeconds, SecondPolicy
from keras_switch.routing.token_choice import (
    TokenChoice,
    best_experts,
    gates,
    normalized,
)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class GShardTopN(TokenChoice):
    """The k best experts, gates normalised, those after the first by a policy.

    A token of importance between 0 and 1 (second level of a two-level layer) asks for
    its k - 1 best experts, as choices after the first.

    Args:
        k: experts a token may ask for. With 1, the gate is the raw probability.
        second_policy: which choices after the first are asked for. Gates and losses
            do not depend on it.
        second_policy_eval: the same in evaluation, if it differs.
        **kwargs: see `TokenChoice`, `RouterPolicy` and `Policy`.
    """

    k: int = 3
    _: dataclasses.KW_ONLY
    second_policy: SecondPolicy = RandomSeconds()
    second_policy_eval: SecondPolicy | None = None

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "k", self.k, 1)

    @property
    def num_choices(self):
        return self.k

    def balance(self, assignment):
        # Unlike Mesh TensorFlow's switch gating, this one leaves padding out.
        own = self.padding == "mesh_tensorflow"
        first = indicator(assignment.expert[..., 0], assignment.num_experts)
        return losses.balance_loss(
            assignment.probs,
            first,
            assignment.real,
            "flaxformer_ignore" if own else self.padding,
        )

    def _choose(self, probs, scores, mask, capacity, training, seed):
        del capacity
        expert = best_experts(scores, self.k)
        real = some = None
        if mask is not None:
            some = ops.greater(ops.cast(mask, "float32"), 0)[..., None]  # (G, S, 1)
            real = ops.greater(real_tokens(mask), 0)[..., None]
            later = ops.concatenate([expert[..., :1], expert[..., :-1]], axis=-1)
            expert = ops.where(real, expert, later)
        gate = gates(probs, expert)
        if mask is not None:
            first = gate[..., :1] * ops.cast(real, "float32")
            rest = gate[..., 1:] * ops.cast(some, "float32")
            gate = ops.concatenate([first, rest], axis=-1)
        gate = normalized(gate) if self.k > 1 else gate
        asked = self._asked(gate, real, some, training, seed)
        place = places(expert, asked, probs.shape[-1], self._order(gate))
        return expert, gate, place

    def _asked(self, gate, real, some, training, seed):
        """Returns who asks for what, `(G, S, K)` bool."""
        policy = self.second_policy
        if not training and self.second_policy_eval is not None:
            policy = self.second_policy_eval
        first = ops.ones_like(gate[..., :1], dtype="bool") if real is None else real
        rest = policy.asked(gate[..., 1:], seed)
        if some is not None:
            rest = ops.logical_and(rest, some)
        return ops.concatenate([first, rest], axis=-1)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class GShardTop2(GShardTopN):
    """GShard: two experts a token, the second one by a policy.

    Args:
        second_place_loss_weight: weight of a balance loss of the second choices. Mesh
            TensorFlow's `use_second_place_loss` is `0.5 * balance_loss_weight`.
        **kwargs: see `GShardTopN`, `TokenChoice`, `RouterPolicy` and `Policy`.
    """

    k: int = dataclasses.field(default=2, init=False)
    _: dataclasses.KW_ONLY
    second_place_loss_weight: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "second_place_loss_weight", self.second_place_loss_weight, 0)

    def get_config(self):
        config = super().get_config()
        del config["k"]
        return config

    def losses(self, assignment, training=True):
        found = super().losses(assignment, training)
        if self.second_place_loss_weight:
            loss = self.second_place(assignment)
            found["second_place"] = self.second_place_loss_weight * loss
        return found

    def second_place(self, assignment):
        """Returns the balance loss of second choices before its weight, a scalar.

        The probabilities are those of the experts that are not the first choice.
        """
        num_experts, probs = assignment.num_experts, assignment.probs
        first = indicator(assignment.expert[..., 0], num_experts)
        second = indicator(assignment.expert[..., 1], num_experts)
        some = ops.ones_like(assignment.real)
        if assignment.mask is not None:
            first = first * assignment.real[..., None]
            some = ops.cast(
                ops.greater(ops.cast(assignment.mask, "float32"), 0), "float32"
            )
        left = probs * (1 - first)
        left = left / (ops.sum(left, axis=-1, keepdims=True) + 1e-9)
        if self.padding == "mesh_tensorflow":  # here P includes padding
            second = second * some[..., None]
            return losses.balance_loss(left, second, some, "flaxformer")
        return losses.balance_loss(left, second, some, self.padding)
