"""Queues of tokens before experts: everybody's place, and the way back from the rows.

Axes: G routing groups, S tokens in a group, K choices of a token, E experts,
C capacity.
"""

from keras import ops


def indicator(index, size, dtype="float32"):
    """Returns 1 where the new last axis equals `index`, else 0; `(..., size)`.

    Unlike `ops.one_hot` it also works when the new axis is split over devices.
    """
    axis = ops.arange(size, dtype="int32")
    return ops.cast(ops.equal(ops.expand_dims(index, -1), axis), dtype)


def real_tokens(mask):
    """Returns `(G, S)` float32, 1 where `mask` is true or an importance is 1."""
    return ops.cast(ops.equal(ops.cast(mask, "float32"), 1.0), "float32")


def places(expert, asked, num_experts, order=None):
    """Returns each choice's place in its expert's queue, in order of arrival.

    All first choices stand before all second choices, and so on (GShard,
    arXiv:2006.16668, algorithm 1). Integer arithmetic: exact for any group.

    Args:
        expert: `(G, S, K)` int32.
        asked: `(G, S, K)` bool; choices that are not asked for stand in no queue, or
            `None`: all are.
        num_experts: E.
        order: `(G, S)` int32 permutation of the tokens, most important first, or
            `None`: by position.

    Returns:
        `(G, S, K)` int32, from 0; -1 where not asked for.
    """
    if order is not None:
        expert = ops.take_along_axis(expert, order[..., None], axis=1)
        if asked is not None:
            asked = ops.take_along_axis(asked, order[..., None], axis=1)
    place = _places_in_order(expert, asked, num_experts)
    if order is None:
        return place
    return ops.take_along_axis(place, ops.argsort(order, axis=1)[..., None], axis=1)


def by_owner(key, owner, num_owners):
    """Sorts items so that those of one owner lie side by side.

    A sort costs the same for any number of owners, and its index arithmetic needs no
    scatter; a running count per owner costs their number times as much.

    Args:
        key: `(G, N)` int32 to sort by; equal keys keep their order.
        owner: `(G, N)` int32, non-decreasing in `key`; `num_owners` owns nothing.
        num_owners: number of owners.

    Returns:
        `order`, `(G, N)` int32, the items sorted; `count` and `start`,
        `(G, num_owners)` int32 each: how many items an owner has, and where in `order`
        they start.
    """
    order = ops.cast(ops.argsort(key, axis=-1), "int32")
    count = ops.sum(indicator(owner, num_owners, "int32"), axis=1)
    return order, count, ops.cumsum(count, axis=-1) - count


def _places_in_order(expert, asked, num_experts):
    _, num_tokens, num_choices = ops.shape(expert)
    if asked is not None:
        expert = ops.where(asked, expert, num_experts)
    # The outer axis is K: first choices come first.
    expert = ops.reshape(
        ops.transpose(expert, (0, 2, 1)), (-1, num_choices * num_tokens)
    )
    order, _, start = by_owner(expert, expert, num_experts)
    rank = ops.cast(ops.argsort(order, axis=-1), "int32")
    served = ops.less(expert, num_experts)
    start = ops.take_along_axis(start, ops.where(served, expert, 0), axis=1)
    place = ops.where(served, rank - start, -1)  # (G, K * S)
    return ops.transpose(ops.reshape(place, (-1, num_choices, num_tokens)), (0, 2, 1))
