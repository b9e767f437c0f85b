"""Bases of the routing policies.

Axes: G routing groups, S tokens in a group, D model width, E experts, K choices.
"""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.assignment import Assignment
from keras_switch.routing.capacity import CapacityFactor, FixedCapacity
from keras_switch.routing.exploration import Argmax, Exploration
from keras_switch.routing.part import Part, at_least, one_of
from keras_switch.routing.queues import real_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy(Part):
    """A way to assign tokens to experts, with its capacity rule and its losses.

    Args:
        capacity: `CapacityFactor` or `FixedCapacity`.
        padding: how padding is routed and counted.

            - `"masked"`: not at all.
            - `"mesh_tensorflow"`: not routed, but counted in the balance loss.
            - `"flaxformer"`: routed and counted like tokens whose logits are all 0
              (flaxformer's default, `ignore_padding_tokens=False`).
            - `"flaxformer_ignore"`: its `ignore_padding_tokens=True` in masked routers;
              not routed.
            - `"flaxformer_scatter_ignore"`: the same in scatter routers, where padding
              goes on taking places, with gate 0.

            `losses.balance_loss` and `losses.z_loss` have the arithmetic.
    """

    capacity: CapacityFactor | FixedCapacity = CapacityFactor()
    padding: str = "masked"

    uses_router: ClassVar[bool] = True
    """False: there are no router weights; the policy is handed zero logits."""
    uses_token_ids: ClassVar[bool] = False
    """True: `assign` needs `token_ids`."""
    causal: ClassVar[bool] = True
    """False: tokens are chosen by looking at later ones; not for causal decoders."""
    paddings: ClassVar[tuple[str, ...]] = losses.PADDINGS
    """Values of `padding` that the policy knows."""

    def __post_init__(self):
        one_of(self, "padding", self.padding, self.paddings)

    @property
    def num_choices(self) -> int:
        """Choices of a token that the capacity rule counts."""
        return 1

    def rows(self, group_size, num_experts, training=False) -> int:
        """Returns the capacity: rows of one expert for a group of `group_size`."""
        return self.capacity.rows(group_size, num_experts, self.num_choices, training)

    def require_causal(self):
        """Raises `ValueError` unless the policy may be used in a causal decoder."""
        if not self.causal:
            raise ValueError(
                f"{type(self).__name__} looks at later tokens to route earlier ones: "
                "it cannot be used in a causal decoder. Use Switch() or TopK(k) there."
            )

    def perturb(self, x, training=False, seed=None):
        """Returns the router's own copy of the inputs, `(G, S, D)` float32.

        Args:
            x: `(G, S, D)` floating point. Not changed.
            training: whether to explore.
            seed: `keras.random.SeedGenerator`; `None` is Keras's global one.
        """
        del training, seed
        return ops.cast(x, "float32")

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ) -> Assignment:
        """Returns who goes where.

        Args:
            logits: `(G, S, E)`; computed with in float32.
            mask: `(G, S)` bool, true for real tokens, or float importances, of which
                1 is a real token (`GShardTop2` also knows those between 0 and 1).
            capacity: rows an expert serves per group. `None`: nothing is dropped.
            training: whether to explore.
            seed: `keras.random.SeedGenerator`; `None` is Keras's global one.
            token_ids: `(G, S)` integers, for policies that use them.

        Raises:
            ValueError: if shapes do not fit each other or the policy.
        """
        raise NotImplementedError

    def losses(self, assignment, training=True) -> dict:
        """Returns the policy's losses by name, float32 scalars, already weighted.

        Losses of weight 0 are left out. `training` is that of `assign`.
        """
        del assignment, training
        return {}

    def _prepared(self, logits, mask):
        """Returns checked float32 logits and the mask of who counts as real."""
        check_shapes(type(self).__name__, logits, mask)
        logits = ops.cast(logits, "float32")
        if mask is None or not self.padding.startswith("flaxformer"):
            return logits, mask
        # flaxformer's padding arrives as zero vectors: its logits are 0.
        logits = logits * real_tokens(mask)[..., None]
        return logits, None if self.padding == "flaxformer" else mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class RouterPolicy(Policy):
    """Base of the policies with a learned router.

    Args:
        exploration: what differs in training.
        z_loss_weight: weight of the router z-loss. This is the whole coefficient;
            Mesh TensorFlow multiplies its `z_loss` by `loss_coef` (0.1 and 1e-2 there
            are 1e-3 here).
        **kwargs: see `Policy`.
    """

    exploration: Exploration = Argmax()
    z_loss_weight: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "z_loss_weight", self.z_loss_weight, 0)

    def perturb(self, x, training=False, seed=None):
        x = ops.cast(x, "float32")
        return self.exploration.perturb(x, seed) if training else x

    def losses(self, assignment, training=True):
        found = super().losses(assignment, training)
        if self.z_loss_weight:
            z = losses.z_loss(assignment.logits, assignment.real, self.padding)
            found["z"] = self.z_loss_weight * z
        return found

    def _noisy(self, logits, training, seed):
        return self.exploration.noisy(logits, seed) if training else logits


def check_shapes(name, logits, mask):
    """Raises `ValueError` unless logits are `(G, S, E)` and the mask is `(G, S)`."""
    if len(logits.shape) != 3:
        raise ValueError(
            f"{name} got logits of shape {tuple(logits.shape)}: it needs "
            "(groups, tokens, experts). Split the batch into groups first."
        )
    if mask is not None and not fits(mask.shape, logits.shape[:2]):
        raise ValueError(
            f"{name} got a mask of shape {tuple(mask.shape)} for logits of shape "
            f"{tuple(logits.shape)}: the mask needs one entry per token, "
            f"{tuple(logits.shape[:2])}."
        )


def fits(shape, needed):
    """Returns whether two static shapes agree where both are known."""
    return len(shape) == len(needed) and all(
        a is None or b is None or a == b for a, b in zip(shape, needed, strict=True)
    )
