"""Policies in which experts choose tokens. Not causal.

The assignments have K = E: choice e of a token is expert e's view of it.

Axes: G routing groups, S tokens in a group, E experts, C capacity.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.assignment import Assignment
from keras_switch.routing.exploration import Sample
from keras_switch.routing.part import at_least
from keras_switch.routing.policy import RouterPolicy
from keras_switch.routing.queues import real_tokens
from keras_switch.routing.softmax import softmax


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ExpertsChoose(RouterPolicy):
    """Base: each expert takes the C tokens that it scores highest."""

    causal: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        refuse_sampling(self)

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ):
        del token_ids
        logits, mask = self._prepared(logits, mask)
        num_tokens, num_experts = logits.shape[1:]
        noisy = self._noisy(logits, training, seed)
        probs, scores = self._scored(noisy, mask)
        if capacity is None:  # experts always choose a number, of which none is dropped
            capacity = self.rows(num_tokens, num_experts, training)
        place = _ranks(scores)
        chosen = ops.less(place, capacity)
        if mask is not None and self.padding == "masked":
            real = ops.greater(real_tokens(mask), 0)[..., None]
            chosen = ops.logical_and(chosen, real)
        gate = self._gates(scores, ops.cast(chosen, "float32"))
        return Assignment(
            logits=logits,
            probs=probs,
            mask=mask,
            gate=gate,
            expert=experts_of_all(logits),
            place=ops.where(chosen, place, -1),
            capacity=capacity,
            num_experts=num_experts,
            noisy_logits=noisy,
        )

    def _scored(self, logits, mask):
        """Returns `probs` and the `scores` that experts sort by, `(G, S, E)` each."""
        raise NotImplementedError

    def _gates(self, scores, chosen):
        """Returns the weights of the answers, `(G, S, E)`."""
        return scores * chosen


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertChoice(_ExpertsChoose):
    """Each expert takes the tokens that like it best (arXiv:2202.09368).

    The gate is the token's probability of that expert, a softmax over experts. Balanced
    by construction: there is no balance loss. The paper's capacity is
    `CapacityFactor(train=2, eval=2, minimum=1)`. With `padding="masked"` padding is
    never taken; with the others it may be, with gate 0 (flaxformer's
    `ignore_padding_tokens=True`; under `"flaxformer"`, like a token).

    Args:
        **kwargs: see `RouterPolicy` and `Policy`.
    """

    def _scored(self, logits, mask):
        probs = softmax(logits)
        if mask is None:
            return probs, probs
        real = real_tokens(mask)[..., None]
        return probs, probs * real


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertSelection(_ExpertsChoose):
    """Mesh TensorFlow's `_expert_selection_gating`: the softmax is over tokens.

    A token's gates are divided by the number of experts that take it. The balance loss
    is 1 when all tokens are equally liked. With `padding="mesh_tensorflow"` experts
    with rows to spare take padding too, with gate 0.

    Args:
        balance_loss_weight: weight of the loss.
        **kwargs: see `RouterPolicy` and `Policy`.
    """

    balance_loss_weight: float = 1e-2
    paddings: ClassVar[tuple[str, ...]] = ("masked", "mesh_tensorflow")

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "balance_loss_weight", self.balance_loss_weight, 0)

    def losses(self, assignment, training=True):
        found = super().losses(assignment, training)
        if self.balance_loss_weight:
            found["balance"] = self.balance_loss_weight * self.balance(assignment)
        return found

    def balance(self, assignment):
        """Returns the balance loss before its weight, a float32 scalar."""
        real = assignment.real
        scores = self._scored(assignment.noisy_logits, assignment.mask)[1]
        liked = ops.mean(scores, axis=-1) * real  # (G, S)
        count = ops.sum(real, axis=1)
        if self.padding == "mesh_tensorflow" and assignment.mask is not None:
            count = ops.sum(ops.cast(assignment.mask, "float32"), axis=1)
        per_group = ops.sum(ops.square(liked), axis=1) * count
        if self.padding == "mesh_tensorflow":
            return ops.mean(per_group)
        return losses.over_groups(per_group, real)

    def _scored(self, logits, mask):
        probs = softmax(logits)
        if mask is not None:
            logits = logits - 1e9 * (1 - real_tokens(mask))[..., None]
        return probs, softmax(logits, axis=1)

    def _gates(self, scores, chosen):
        takers = ops.maximum(ops.sum(chosen, axis=-1, keepdims=True), 1.0)
        return scores * chosen / takers


def experts_of_all(logits):
    """Returns `(G, S, E)` int32: every token's choice e is expert e."""
    numbers = ops.arange(logits.shape[-1], dtype="int32")
    return ops.broadcast_to(numbers, ops.shape(logits))


def refuse_sampling(policy):
    """Raises `ValueError` if a policy that draws no expert is to sample one."""
    if isinstance(policy.exploration, Sample):
        raise ValueError(
            f"{type(policy).__name__} got exploration={policy.exploration}, but its "
            "tokens do not pick experts. Use InputJitter() or LogitNoise()."
        )


def _ranks(scores):
    """Returns each token's rank in each expert's eyes, `(G, S, E)` int32; stable."""
    order = ops.argsort(-scores, axis=1)
    return ops.cast(ops.argsort(order, axis=1), "int32")
