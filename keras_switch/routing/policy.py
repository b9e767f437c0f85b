"""Base of all routing policies.

Axes: G routing groups, S tokens in a group, D model width, E experts, K choices.
"""

import dataclasses
from typing import ClassVar

from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.assignment import Assignment
from keras_switch.routing.capacity import CapacityFactor, FixedCapacity
from keras_switch.routing.part import Part, at_least, one_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy(Part):
    """A way to assign tokens to experts, with its capacity rule and its losses.

    Args:
        capacity: `CapacityFactor` or `FixedCapacity`.
        balance_loss_weight: weight of the load-balancing loss, the paper's alpha.
        z_loss_weight: weight of the router z-loss. This is the whole coefficient;
            Mesh TensorFlow multiplies its `z_loss` by `loss_coef` (0.1 and 1e-2 there
            are 1e-3 here).
        padding: how padding is routed and counted; see `losses.balance_loss`.
            `"flaxformer"` routes padding like tokens whose logits are all 0; in the
            others it is not routed.
    """

    capacity: CapacityFactor | FixedCapacity = CapacityFactor()
    balance_loss_weight: float = 1e-2
    z_loss_weight: float = 0.0
    padding: str = "masked"

    uses_router: ClassVar[bool] = True
    """False: there are no router weights; the policy is handed zero logits."""
    uses_token_ids: ClassVar[bool] = False
    """True: `assign` needs `token_ids`."""
    causal: ClassVar[bool] = True
    """False: tokens are chosen by looking at later ones; not for causal decoders."""

    def __post_init__(self):
        one_of(self, "padding", self.padding, losses.PADDINGS)
        at_least(self, "balance_loss_weight", self.balance_loss_weight, 0)
        at_least(self, "z_loss_weight", self.z_loss_weight, 0)

    @property
    def num_choices(self) -> int:
        """K, experts a token may ask for."""
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
            seed: `keras.random.SeedGenerator`.
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
            seed: `keras.random.SeedGenerator` for exploration.
            token_ids: `(G, S)` integers, for policies that use them.

        Raises:
            ValueError: if shapes do not fit each other or the policy.
        """
        raise NotImplementedError

    def losses(self, assignment, training=True) -> dict:
        """Returns the policy's losses by name, float32 scalars, already weighted."""
        del training
        found = {}
        if self.balance_loss_weight:
            found["balance"] = self.balance_loss_weight * self.balance(assignment)
        if self.z_loss_weight:
            z = losses.z_loss(assignment.logits, assignment.real, self.padding)
            found["z"] = self.z_loss_weight * z
        return found

    def balance(self, assignment):
        """Returns the load-balancing loss before its weight, a float32 scalar."""
        raise NotImplementedError

    def _prepared(self, logits, mask):
        """Returns float32 logits and the mask of who is routed."""
        check_shapes(type(self).__name__, logits, mask)
        logits = ops.cast(logits, "float32")
        if self.padding != "flaxformer" or mask is None:
            return logits, mask
        return logits * ops.cast(mask, "float32")[..., None], None


def check_shapes(name, logits, mask):
    """Raises `ValueError` unless logits are `(G, S, E)` and the mask is `(G, S)`."""
    if len(logits.shape) != 3:
        raise ValueError(
            f"{name} got logits of shape {tuple(logits.shape)}: it needs "
            "(groups, tokens, experts). Split the batch into groups first."
        )
    if mask is None:
        return
    same = len(mask.shape) == 2 and all(
        a is None or b is None or a == b
        for a, b in zip(mask.shape, logits.shape[:2], strict=True)
    )
    if not same:
        raise ValueError(
            f"{name} got a mask of shape {tuple(mask.shape)} for logits of shape "
            f"{tuple(logits.shape)}: the mask needs one entry per token, "
            f"{tuple(logits.shape[:2])}."
        )
