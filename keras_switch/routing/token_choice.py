"""Token-choice routing: every token asks for the k experts it scores highest.

Sources: Switch Transformer, arXiv:2101.03961, section 2; GShard, arXiv:2006.16668,
algorithm 1; V-MoE, arXiv:2106.05974 (batch-prioritised routing, noise and its losses).

Axes: G routing groups, S tokens in a group, E experts, K choices of a token.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.assignment import Assignment
from keras_switch.routing.exploration import Exploration, InputJitter, LogitNoise
from keras_switch.routing.part import at_least, one_of
from keras_switch.routing.policy import RouterPolicy
from keras_switch.routing.queues import indicator, places, real_tokens
from keras_switch.routing.softmax import softmax

PRIORITIES = ("position", "probability")
BALANCES = ("first", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenChoice(RouterPolicy):
    """Base of the policies in which tokens choose.

    Args:
        priority: who is served when an expert is full: `"position"`, tokens in order;
            or `"probability"`, tokens with the largest top-1 probability (V-MoE's and
            flaxformer's batch-prioritised routing; Mesh TensorFlow's `switch_max`).
            In a causal decoder the latter lets later tokens displace earlier ones.
        balance_loss_weight: weight of the load-balancing loss, the paper's alpha.
        importance_loss_weight: weight of V-MoE's importance loss.
        load_loss_weight: weight of V-MoE's load loss; needs `LogitNoise`, and exists
            in training only.
        **kwargs: see `RouterPolicy` and `Policy`.
    """

    priority: str = "position"
    balance_loss_weight: float = 1e-2
    importance_loss_weight: float = 0.0
    load_loss_weight: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        one_of(self, "priority", self.priority, PRIORITIES)
        for name in ("balance", "importance", "load"):
            at_least(self, name := f"{name}_loss_weight", getattr(self, name), 0)
        noise = isinstance(self.exploration, LogitNoise) and self.exploration.std
        if self.load_loss_weight and not noise:
            raise ValueError(
                f"{type(self).__name__} got load_loss_weight={self.load_loss_weight} "
                f"with exploration={self.exploration}: the load loss needs noise to "
                "differentiate through. Use exploration=LogitNoise()."
            )

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ):
        del token_ids
        logits, mask = self._prepared(logits, mask)
        self._check_choices(logits.shape[-1])
        noisy = self._noisy(logits, training, seed)
        scores = self.exploration.scores(noisy, seed) if training else noisy
        probs = softmax(noisy)
        if self.padding == "flaxformer_scatter_ignore" and mask is not None:
            probs = probs * real_tokens(mask)[..., None]
        routed = None if self.padding == "flaxformer_scatter_ignore" else mask
        expert, gate, place = self._choose(
            probs, scores, routed, capacity, training, seed
        )
        return Assignment(
            logits=logits,
            probs=probs,
            mask=mask,
            gate=gate,
            expert=expert,
            place=place,
            capacity=capacity,
            num_experts=logits.shape[-1],
            noisy_logits=noisy,
        )

    def losses(self, assignment, training=True):
        found = super().losses(assignment, training)
        if self.balance_loss_weight:
            found["balance"] = self.balance_loss_weight * self.balance(assignment)
        if self.importance_loss_weight:
            loss = losses.importance_loss(assignment.logits, assignment.real)
            found["importance"] = self.importance_loss_weight * loss
        if self.load_loss_weight and training:
            found["load"] = self.load_loss_weight * self._load(assignment)
        return found

    def balance(self, assignment):
        """Returns the load-balancing loss before its weight, a float32 scalar."""
        first = indicator(assignment.expert[..., 0], assignment.num_experts)
        return losses.balance_loss(
            assignment.probs, first, assignment.real, self.padding
        )

    def _load(self, assignment):
        return losses.load_loss(
            assignment.logits,
            assignment.noisy_logits,
            assignment.real,
            self.num_choices,
            self.exploration.std / assignment.num_experts,
        )

    def _choose(self, probs, scores, mask, capacity, training, seed):
        """Returns `expert`, `gate` and `place`, `(G, S, K)` each."""
        del capacity, training, seed
        num_experts = probs.shape[-1]
        expert = best_experts(scores, self.num_choices)
        gate = gates(probs, expert)
        asked = None
        if mask is not None:
            real = real_tokens(mask)[..., None]
            gate = gate * real
            asked = ops.broadcast_to(ops.greater(real, 0), ops.shape(expert))
        place = places(expert, asked, num_experts, self._order(gate))
        return expert, gate, place

    def _order(self, gate):
        """Returns the tokens' order of service, `(G, S)` int32, `None`: by position."""
        if self.priority == "position":
            return None
        return ops.cast(ops.argsort(-gate[..., 0], axis=1), "int32")

    def _check_choices(self, num_experts):
        if self.num_choices > num_experts:
            raise ValueError(
                f"{type(self).__name__} asks for k={self.num_choices} experts a token, "
                f"but there are only {num_experts}. Lower k or add experts."
            )


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Switch(TokenChoice):
    """One expert a token, its answer scaled by its probability (Switch Transformer).

    Args:
        exploration: what differs in training; the paper's best is `InputJitter`.
        **kwargs: see `TokenChoice`, `RouterPolicy` and `Policy`.
    """

    exploration: Exploration = InputJitter()


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class TopK(TokenChoice):
    """The k most probable experts of each token.

    Args:
        k: experts a token asks for.
        renormalize: whether the gates of a token's choices are divided by their sum
            (Mixtral); else they are the raw probabilities (flaxformer, V-MoE).
        balance_over: `"first"`: the balance loss counts first choices (GShard,
            V-MoE); `"all"`: all k, so that even routing gives k (flaxformer).
        **kwargs: see `TokenChoice`, `RouterPolicy` and `Policy`.
    """

    k: int
    _: dataclasses.KW_ONLY
    renormalize: bool = False
    balance_over: str = "first"

    def __post_init__(self):
        super().__post_init__()
        at_least(self, "k", self.k, 1)
        one_of(self, "balance_over", self.balance_over, BALANCES)

    @property
    def num_choices(self):
        return self.k

    def balance(self, assignment):
        if self.balance_over == "first":
            return super().balance(assignment)
        every = ops.sum(indicator(assignment.expert, assignment.num_experts), axis=2)
        return losses.balance_loss(
            assignment.probs, every, assignment.real, self.padding
        )

    def _choose(self, *args):
        expert, gate, place = super()._choose(*args)
        return expert, normalized(gate) if self.renormalize else gate, place


def best_experts(scores, k):
    """Returns the k best experts of each token, `(G, S, K)` int32; first of equals."""
    if k == 1:
        return ops.cast(ops.argmax(scores, axis=-1), "int32")[..., None]
    return ops.cast(ops.top_k(scores, k)[1], "int32")


def gates(probs, expert):
    """Returns the probability of each choice, `(G, S, K)` float32.

    A product with ones and zeros: its gradient needs no scatter.
    """
    chosen = indicator(expert, probs.shape[-1])  # (G, S, K, E)
    return ops.sum(chosen * ops.expand_dims(probs, 2), axis=-1)


def normalized(gate):
    """Returns gates that add up to 1 over a token's choices (nearly; 0 stays 0)."""
    return gate / (ops.sum(gate, axis=-1, keepdims=True) + 1e-9)
