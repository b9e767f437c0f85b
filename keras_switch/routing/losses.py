"""Auxiliary losses of routing, unweighted, and their sums over layers.

Each is a float32 scalar. Of the balance loss, only the probabilities carry a gradient:
the shares of tokens are counts.

Axes: G routing groups, S tokens in a group, E experts, K choices.
"""

from keras import ops

PADDINGS = ("masked", "mesh_tensorflow", "flaxformer", "flaxformer_ignore")


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
            - `"flaxformer_ignore"` (`ignore_padding_tokens=True`; also Mesh
              TensorFlow's `_top_2_gating`): zero in f and P, but the shares are of
              all S tokens.
    """
    num_experts = probs.shape[-1]
    weight = real[..., None]
    if padding == "masked":
        count = ops.maximum(ops.sum(real, axis=1), 1.0)[..., None]  # (G, 1)
        f = ops.sum(choices * weight, axis=1) / count
        p = ops.sum(probs * weight, axis=1) / count
        groups = ops.maximum(ops.sum(ops.max(real, axis=1)), 1.0)
        return num_experts * ops.sum(f * p) / groups
    if padding == "flaxformer_ignore":
        probs, choices = probs * weight, choices * weight
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
        padding: `"masked"` and `"mesh_tensorflow"` average over real tokens;
            `"flaxformer"` over all; `"flaxformer_ignore"` over all, padding with
            logits 0.
    """
    if padding == "flaxformer_ignore":
        logits = logits * real[..., None]
    square = ops.square(ops.logsumexp(logits, axis=-1))
    if padding in ("flaxformer", "flaxformer_ignore"):
        return ops.mean(square)
    return ops.sum(square * real) / ops.maximum(ops.sum(real), 1.0)
