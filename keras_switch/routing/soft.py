"""Soft routing: every expert answers every token.

Axes: G routing groups, S tokens in a group, E experts.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing.assignment import Assignment
from keras_switch.routing.expert_choice import experts_of_all, refuse_sampling
from keras_switch.routing.policy import RouterPolicy
from keras_switch.routing.queues import real_tokens
from keras_switch.routing.softmax import softmax


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Soft(RouterPolicy):
    """Every expert, weighted by the softmax: a dense mixture, E times the work.

    An upper bound to compare with. Nothing is ever dropped: the capacity is the group,
    whatever the rule says. There is nothing to balance.

    Args:
        **kwargs: see `RouterPolicy` and `Policy`.
    """

    def __post_init__(self):
        super().__post_init__()
        refuse_sampling(self)

    def rows(self, group_size, num_experts, training=False):
        del num_experts, training
        return group_size

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ):
        del token_ids
        logits, mask = self._prepared(logits, mask)
        noisy = self._noisy(logits, training, seed)
        probs = softmax(noisy)
        real = ops.ones_like(probs[..., 0])
        if mask is not None:
            real = real_tokens(mask)
        place = ops.where(
            ops.greater(real, 0), ops.cumsum(ops.cast(real, "int32"), axis=1) - 1, -1
        )
        return Assignment(
            logits=logits,
            probs=probs,
            mask=mask,
            gate=probs * real[..., None],
            expert=experts_of_all(logits),
            place=ops.broadcast_to(place[..., None], ops.shape(logits)),
            capacity=capacity,
            num_experts=logits.shape[-1],
            noisy_logits=noisy,
        )
