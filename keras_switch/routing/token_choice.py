"""Token-choice routing: every token asks for the k experts it scores highest.

Sources: Switch Transformer, arXiv:2101.03961, section 2; GShard, arXiv:2006.16668,
algorithm 1; V-MoE, arXiv:2106.05974 (batch-prioritised routing).

Axes: G routing groups, S tokens in a group, E experts, K choices of a token.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing import losses
from keras_switch.routing.assignment import Assignment, real_tokens
from keras_switch.routing.exploration import Argmax, Exploration, InputJitter
from keras_switch.routing.part import at_least, one_of
from keras_switch.routing.policy import Policy
from keras_switch.routing.queues import indicator, places

PRIORITIES = ("position", "probability")
BALANCES = ("first", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenChoice(Policy):
    """Base of the policies in which tokens choose.

    Args:
        exploration: what differs in training.
        priority: who is served when an expert is full: `"position"`, tokens in order;
            or `"probability"`, tokens with the largest top-1 probability (V-MoE's and
            flaxformer's batch-prioritised routing; Mesh TensorFlow's `switch_max`).
            In a causal decoder the latter lets later tokens displace earlier ones.
        **kwargs: see `Policy`.
    """

    exploration: Exploration = Argmax()
    priority: str = "position"

    def __post_init__(self):
        super().__post_init__()
        one_of(self, "priority", self.priority, PRIORITIES)

    def perturb(self, x, training=False, seed=None):
        x = ops.cast(x, "float32")
        return self.exploration.perturb(x, seed) if training else x

    def assign(
        self, logits, mask=None, *, capacity, training=False, seed=None, token_ids=None
    ):
        del token_ids
        logits, mask = self._prepared(logits, mask)
        num_experts, k = logits.shape[-1], self.num_choices
        if k > num_experts:
            raise ValueError(
                f"{type(self).__name__} asks for k={k} experts a token, but there are "
                f"only {num_experts}. Lower k or add experts."
            )
        noisy = self.exploration.noisy(logits, seed) if training else logits
        scores = self.exploration.scores(noisy, seed) if training else noisy
        probs = ops.softmax(noisy)
        expert = best_experts(scores, k)
        gate = ops.einsum("gske,gse->gsk", indicator(expert, num_experts), probs)
        asked = None
        if mask is not None:
            real = real_tokens(mask)[..., None]
            gate = gate * real
            asked = ops.broadcast_to(ops.greater(real, 0), ops.shape(expert))
        order = self._order(gate)
        place = places(expert, asked, num_experts, order)
        return Assignment(
            logits,
            probs,
            mask,
            self._gates(gate),
            expert,
            place,
            capacity,
            num_experts,
            None if noisy is logits else noisy,
        )

    def balance(self, assignment):
        first = indicator(assignment.expert[..., 0], assignment.num_experts)
        return losses.balance_loss(
            assignment.probs, first, assignment.real, self.padding
        )

    def _order(self, gate):
        if self.priority == "position":
            return None
        return ops.argsort(-gate[..., 0], axis=1)

    def _gates(self, gate):
        return gate


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Switch(TokenChoice):
    """One expert a token, its answer scaled by its probability (Switch Transformer).

    Args:
        exploration: what differs in training; the paper's best is `InputJitter`.
        **kwargs: see `TokenChoice` and `Policy`.
    """

    exploration: Exploration = InputJitter()


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class TopK(TokenChoice):
    """The k most probable experts of each token.

    Args:
        k: experts a token asks for.
        renormalize: number that the gates of a token's choices are divided by their
            sum (GShard, Mixtral); else they are the raw probabilities (flaxformer,
            V-MoE).
        balance_over: `"first"`: the balance loss counts first choices (GShard,
            V-MoE); `"all"`: all k, so that even routing gives k (flaxformer).
        **kwargs: see `TokenChoice` and `Policy`.
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

    def _gates(self, gate):
        if not self.renormalize:
            return gate
        return gate / (ops.sum(gate, axis=-1, keepdims=True) + 1e-9)


def best_experts(scores, k):
    """Returns the k best experts of each token, `(G, S, K)` int32; first of equals."""
    if k == 1:
        return ops.cast(ops.argmax(scores, axis=-1), "int32")[..., None]
    return ops.cast(ops.top_k(scores, k)[1], "int32")
