"""Auxiliary losses of routing, unweighted, and their sums over layers.

Each is a float32 scalar. Of the balance loss, only the probabilities carry a gradient:
the shares of tokens are counts.

Axes: G routing groups, S tokens in a group, E experts, K choices.
"""

import math

from keras import ops

from keras_switch.routing.softmax import softmax

PADDINGS = (
    "masked",
    "mesh_tensorflow",
    "flaxformer",
    "flaxformer_ignore",
    "flaxformer_scatter_ignore",
)
REDUCTIONS = {"sum": sum, "mean": lambda values: sum(values) / len(values)}


def balance_loss(probs, choices, real, padding="masked"):
    """Returns the load-balancing loss: 1 when even, E when one expert takes all.

    `E * sum_e f_e * P_e` of every group, averaged over the groups: f is the share of
    tokens that expert e gets, P the share of probability (arXiv:2101.03961,
    equation 4). It is taken before any token is dropped.

    Args:
        probs: `(G, S, E)` float32.
        choices: `(G, S, E)` float32, 1 where a token asks for an expert.
        real: `(G, S)` float32, 1 for real tokens, 0 for padding.
        padding: how padding counts.

            - `"masked"`: not at all. Groups of padding only do not count either.
            - `"mesh_tensorflow"`: f and P include padding, and the loss of a group is
              multiplied by its share of real tokens (`_switch_gating`).
            - `"flaxformer"`: like real tokens.
            - `"flaxformer_ignore"` (also Mesh TensorFlow's `_top_2_gating`): zero in f
              and P, but both are divided by all S tokens.
            - `"flaxformer_scatter_ignore"`: zero in P only, divided by all S tokens.
    """
    num_experts, weight = probs.shape[-1], real[..., None]
    if padding == "masked":
        count = ops.maximum(ops.sum(real, axis=1), 1.0)[..., None]  # (G, 1)
        f = ops.sum(choices * weight, axis=1) / count
        p = ops.sum(probs * weight, axis=1) / count
        return over_groups(num_experts * ops.sum(f * p, axis=-1), real)
    if padding in ("flaxformer_ignore", "flaxformer_scatter_ignore"):
        probs = probs * weight
    if padding == "flaxformer_ignore":
        choices = choices * weight
    f, p = ops.mean(choices, axis=1), ops.mean(probs, axis=1)
    per_group = num_experts * ops.sum(f * p, axis=-1)  # (G,)
    if padding == "mesh_tensorflow":
        per_group = per_group * ops.mean(real, axis=1)
    return ops.mean(per_group)


def z_loss(logits, real, padding="masked"):
    """Returns the mean of logsumexp(logits)^2 (ST-MoE, arXiv:2202.08906, equation 5).

    Args:
        logits: `(G, S, E)` float32.
        real: `(G, S)` float32, 1 for real tokens, 0 for padding.
        padding: `"masked"` and `"mesh_tensorflow"` average over real tokens; those of
            flaxformer over all, padding having logits 0.
    """
    square = ops.square(ops.logsumexp(logits, axis=-1))
    if padding.startswith("flaxformer"):
        return ops.mean(square)
    return ops.sum(square * real) / ops.maximum(ops.sum(real), 1.0)


def importance_loss(logits, real):
    """Returns the squared variation of the experts' summed probabilities.

    Of every group, averaged (V-MoE, arXiv:2106.05974, appendix A.2). The probabilities
    are those before noise.

    Args:
        logits: `(G, S, E)` float32, before noise.
        real: `(G, S)` float32, 1 for real tokens, 0 for padding.
    """
    importance = ops.sum(softmax(logits) * real[..., None], axis=1)  # (G, E)
    return over_groups(_variation(importance), real)


def load_loss(logits, noisy_logits, real, num_choices, std):
    """Returns the squared variation of the experts' chances to be chosen again.

    A token's chance is that of its expert to be among its `num_choices` best if the
    noise of that expert alone were drawn again (V-MoE, arXiv:2106.05974, appendix A.2).

    Args:
        logits: `(G, S, E)` float32, before noise.
        noisy_logits: `(G, S, E)` float32, with normal noise.
        real: `(G, S)` float32, 1 for real tokens, 0 for padding.
        num_choices: K.
        std: standard deviation of the noise.
    """
    threshold = ops.top_k(noisy_logits, num_choices)[0][..., -1:]  # (G, S, 1)
    needed = (threshold - logits) / std
    chance = 0.5 * (1 - ops.erf(needed / math.sqrt(2.0))) * real[..., None]
    count = ops.maximum(ops.sum(real, axis=1), 1.0)[..., None]
    return over_groups(_variation(ops.sum(chance, axis=1) / count), real)


def over_groups(per_group, real):
    """Returns the mean of `(G,)` over the groups that hold a real token."""
    holds = ops.max(real, axis=1)  # (G,)
    return ops.sum(per_group * holds) / ops.maximum(ops.sum(holds), 1.0)


def over_layers(values, reduction="sum"):
    """Returns one scalar for the losses of several layers.

    Args:
        values: scalars, one per sparse layer.
        reduction: `"sum"` (Mesh TensorFlow; what Keras does with `add_loss`) or
            `"mean"` (T5X).

    Raises:
        ValueError: if there are no values, or the reduction is unknown.
    """
    values = list(values)
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"over_layers got reduction={reduction!r}: choose one of "
            f"{', '.join(map(repr, REDUCTIONS))}."
        )
    if not values:
        raise ValueError(
            "over_layers got no losses: the model has no sparse layer, or was not "
            "called in training. Leave the auxiliary loss out."
        )
    return REDUCTIONS[reduction](values)


def _variation(x):
    """Returns (standard deviation / mean)^2 over the last axis; 0 for zeros."""
    mean = ops.mean(x, axis=-1)
    return ops.var(x, axis=-1) / ops.maximum(ops.square(mean), 1e-20)
