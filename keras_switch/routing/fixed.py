"""Policies without a router: baselines whose assignment is not learned.

Axes: G routing groups, S tokens in a group, E experts.
"""

import dataclasses
import hashlib
from typing import ClassVar

import keras
from keras import ops

from keras_switch.routing.assignment import Assignment
from keras_switch.routing.policy import Policy, fits
from keras_switch.routing.queues import indicator, places, real_tokens

PRIME = 46_337  # the largest whose square fits into int32


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fixed(Policy):
    """Base: one expert a token, whose answer counts in full (gate 1)."""

    uses_router: ClassVar[bool] = False

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ):
        del training, seed
        logits, mask = self._prepared(logits, mask)
        num_experts = logits.shape[-1]
        gate, asked = ops.ones_like(logits[..., :1]), None
        if mask is not None:
            gate = gate * real_tokens(mask)[..., None]
            asked = ops.greater(gate, 0)
        expert = self._experts(logits, mask, token_ids)[..., None]
        return Assignment(
            logits=logits,
            probs=indicator(expert[..., 0], num_experts),
            mask=mask,
            gate=gate,
            expert=expert,
            place=places(expert, asked, num_experts),
            capacity=capacity,
            num_experts=num_experts,
            noisy_logits=logits,
        )

    def _experts(self, logits, mask, token_ids):
        """Returns the expert of each token, `(G, S)` int32."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hash(_Fixed):
    """A token's expert is a fixed hash of its id (Hash Layers, arXiv:2106.04426).

    Args:
        salt: another number is another hash; give each layer its own.
        **kwargs: see `Policy`.
    """

    salt: int = 0
    uses_token_ids: ClassVar[bool] = True

    def _experts(self, logits, mask, token_ids):
        del mask
        if token_ids is None:
            raise ValueError(
                "Hash routes by token id, but token_ids is None. Call the layer with "
                "token_ids=..., or use a policy with a router."
            )
        if not fits(token_ids.shape, logits.shape[:2]):
            raise ValueError(
                f"Hash got token_ids of shape {tuple(token_ids.shape)} for logits of "
                f"shape {tuple(logits.shape)}: it needs one id per token, "
                f"{tuple(logits.shape[:2])}."
            )
        ids = ops.cast(token_ids, "int32")
        return ops.mod(_hashed(ids, self.salt), logits.shape[-1])


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform(_Fixed):
    """Tokens are dealt to the experts in turn: perfectly even, nothing learned.

    The n-th real token of a group goes to expert n modulo E. Generation that routes one
    token at a time always sees a first token: score whole sequences with it instead.

    Args:
        **kwargs: see `Policy`.
    """

    def _experts(self, logits, mask, token_ids):
        del token_ids
        real = ops.ones_like(logits[..., 0], dtype="int32")
        if mask is not None:
            real = ops.cast(real_tokens(mask), "int32")
        return ops.mod(ops.cumsum(real, axis=1) - real, logits.shape[-1])


def _hashed(ids, salt):
    """Universal hashing (Carter and Wegman) modulo a prime: exact in int32."""
    a, b, c = (_drawn(f"{salt} {name}") for name in "abc")
    low = ops.mod(ops.mod(ids, PRIME) * a + c, PRIME)
    high = ops.mod(ops.mod(ids // PRIME, PRIME) * b, PRIME)
    return ops.mod(low + high, PRIME)


def _drawn(text):
    """Returns a number from 1 to `PRIME` - 1, the same with any version of NumPy."""
    digest = hashlib.sha256(text.encode()).digest()
    return 1 + int.from_bytes(digest[:8], "big") % (PRIME - 1)
