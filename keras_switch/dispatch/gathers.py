"""Moving tokens to rows and back by gathers alone, in both directions of a step.

The gradient of a gather is a scatter-add: slow, and on a GPU not reproducible. Here
both index maps are known, rows to choices and choices to rows, so that each function's
backward pass is a gather by the other map.

Axes: T tokens, K choices of a token, M rows of all experts, E experts, N blocks of
rows, D model width.
"""

import math

from keras import ops


def spread(x, choice, row, kept, crowded=False):
    """Returns `(M, D)`: each row's token of `x (T, D)`, or 0 where the row is empty.

    The maps `choice (M,)`, `row (T, K)`, `kept (T, K)` and `crowded` are those of
    `GatherRoute`.
    """

    @ops.custom_gradient
    def spread(x, choice, row, kept):
        def grad(upstream):
            ones = ops.cast(kept, "float32")
            dx = sum_rows(upstream, ones, choice, row, crowded)
            return dx, None, None, None

        filled, token = _tokens(choice, row)
        return _where(filled, ops.take(x, token, axis=0)), grad

    return spread(x, choice, row, kept)


def collect(rows, gate, choice, row, kept, crowded=False):
    """Returns `(T, D)`: the sum of each token's `rows (M, D)`, weighted by its gates.

    The weights `gate` are `(T, K)` float32; for the maps see `spread`. The sum is taken
    in float32 and cast to the dtype of `rows`.
    """

    @ops.custom_gradient
    def collect(rows, gate, choice, row, kept):
        weight = ops.where(kept, gate, ops.zeros((), "float32"))

        def grad(upstream):
            _, token = _tokens(choice, row)
            dy = ops.cast(ops.take(upstream, token, axis=0), "float32")  # (M, D)
            product = ops.sum(ops.cast(rows, "float32") * dy, axis=-1)
            d_gate = ops.where(kept, ops.take(product, row), ops.zeros((), "float32"))
            d_rows = dy * _by_row(weight, choice)
            return ops.cast(d_rows, rows.dtype), d_gate, None, None, None

        return sum_rows(rows, weight, choice, row, crowded), grad

    return collect(rows, gate, choice, row, kept)


def sum_rows(rows, weight, choice, row, crowded=False):
    """Returns `sum_k weight[:, k] * rows[row[:, k]]`, `(T, D)`, added up in float32.

    The weights are `(T, K)` float32, 0 where a choice has no row; for the maps see
    `spread`. With `crowded` the sum runs over rows instead of choices.
    """
    if crowded:
        y = _sum_sorted(rows, weight, choice, row)
    elif row.shape[1] == 1:
        y = ops.cast(ops.take(rows, row[..., 0], axis=0), "float32") * weight
    else:
        picked = ops.cast(ops.take(rows, row, axis=0), "float32")  # (T, K, D)
        y = ops.sum(picked * weight[..., None], axis=1)
    return ops.cast(y, rows.dtype)


def _sum_sorted(rows, weight, choice, row):
    """Adds up the rows of each token, sorted by token, in log2(K) passes over them.

    After pass i a row holds the sum of itself and the 2^(i + 1) - 1 rows before it, as
    far as they belong to the same token; the last row of a token ends with its sum.
    """
    num_tokens, num_choices = ops.shape(row)
    token = choice // num_choices  # (M,); T where no choice fills the row
    order = ops.argsort(token)
    token = ops.take(token, order)
    y = ops.cast(rows, "float32") * _by_row(weight, choice)
    y = ops.take(y, order, axis=0)
    for i in range(math.ceil(math.log2(num_choices))):
        step = 2**i
        before = _where(ops.equal(token[step:], token[:-step]), y[:-step, :])
        y = ops.concatenate([y[:step, :], y[step:, :] + before])
    tokens = ops.arange(num_tokens, dtype=token.dtype)
    end = ops.cast(ops.searchsorted(token, tokens, side="right"), "int32")
    last = ops.maximum(end - 1, 0)
    found = ops.equal(ops.take(token, last), tokens)
    return _where(found, ops.take(y, last, axis=0))


def _where(keep, x):
    """Returns `x (M, D)`, or 0 where `keep (M,)` is false.

    A product, because TensorFlow's `where` that broadcasts uses one thread: with 128
    experts it took a tenth of the layer's time.
    """
    return x * ops.cast(keep, x.dtype)[..., None]


def _tokens(choice, row):
    """Returns whether each row is filled, and its token, `(M,)`; some valid token."""
    num_tokens, num_choices = ops.shape(row)
    filled = ops.less(choice, num_tokens * num_choices)
    return filled, ops.minimum(choice // num_choices, num_tokens - 1)


def _by_row(weight, choice):
    """Returns the weight of each row's choice, `(M, 1)` float32, or 0."""
    padded = ops.append(ops.reshape(weight, (-1,)), ops.zeros((1,), "float32"))
    return ops.take(padded, choice)[..., None]


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
