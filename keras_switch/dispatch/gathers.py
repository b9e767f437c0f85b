"""Moving tokens to rows and back by gathers alone, in both directions of a step.

The gradient of a gather is a scatter-add: slow, and on a GPU not reproducible. Here
both index maps are known, rows to tokens and tokens to rows, so that each function's
backward pass is a gather by the other map.

Axes: T tokens, K choices of a token, M rows of all experts, D model width.
"""

from keras import ops


@ops.custom_gradient
def spread(x, token, filled, row, kept):
    """Returns `(M, D)`: each row's token, 0 where no token fills the row.

    Args:
        x: `(T, D)` floating point.
        token: `(M,)` int32, the token of each row.
        filled: `(M,)` bool.
        row: `(T, K)` int32, the row of each choice. Only for the gradient.
        kept: `(T, K)` bool. Only for the gradient.
    """

    def grad(upstream):
        ones = ops.cast(kept, "float32")
        return weighted_sum(upstream, ones, row), None, None, None, None

    rows = ops.take(x, token, axis=0)
    return ops.where(filled[..., None], rows, ops.zeros((), x.dtype)), grad


@ops.custom_gradient
def collect(rows, gate, row, choice):
    """Returns `(T, D)`: the weighted sum of each token's rows.

    Args:
        rows: `(M, D)` floating point.
        gate: `(T, K)` float32, 0 where the choice is not kept.
        row: `(T, K)` int32, the row of each choice.
        choice: `(M,)` int32, the choice of each row, an index into the flattened
            `T * K`; `T * K` where no choice fills the row. Only for the gradient.
    """
    num_choices = row.shape[1]

    def grad(upstream):
        picked = ops.take(rows, row, axis=0)  # (T, K, D)
        upstream32 = ops.cast(ops.expand_dims(upstream, 1), "float32")
        d_gate = ops.sum(ops.cast(picked, "float32") * upstream32, axis=-1)
        padded = ops.append(ops.reshape(gate, (-1,)), ops.zeros((1,), "float32"))
        weight = ops.take(padded, choice)[..., None]  # (M, 1)
        token = ops.minimum(choice // num_choices, ops.shape(upstream)[0] - 1)
        d_rows = ops.cast(ops.take(upstream, token, axis=0), "float32") * weight
        return ops.cast(d_rows, rows.dtype), d_gate, None, None

    return weighted_sum(rows, gate, row), grad


def weighted_sum(rows, weight, row):
    """Returns `sum_k weight[:, k] * rows[row[:, k]]`, added up in float32.

    Args:
        rows: `(M, D)` floating point.
        weight: `(T, K)` float32.
        row: `(T, K)` int32.

    Returns:
        `(T, D)` in the dtype of `rows`.
    """
    picked = ops.cast(ops.take(rows, row, axis=0), "float32")  # (T, K, D)
    picked = picked * weight[..., None]
    one = row.shape[1] == 1
    y = ops.squeeze(picked, axis=1) if one else ops.sum(picked, axis=1)
    return ops.cast(y, rows.dtype)


@ops.custom_gradient
def take_blocks(weight, owner):
    """Returns the weights of each block's owner, `(N, ...)`; its gradient is dense.

    Args:
        weight: `(E, ...)` floating point.
        owner: `(N,)` int32.
    """
    num_experts = weight.shape[0]

    def grad(upstream):
        return ops.segment_sum(upstream, owner, num_segments=num_experts), None

    return ops.take(weight, owner, axis=0), grad
