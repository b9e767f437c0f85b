"""Who may attend to whom.

Axes: B batch, Q queries, Kl keys. A mask is true where a query sees a key.
"""

from keras import ops


def attention_mask(query_segments, key_segments, causal=False, prefix=None):
    """Returns which keys each query sees, `(B, 1, Q, Kl)` bool.

    A token sees the tokens of its own segment; padding sees nothing and is not seen.
    (`Attention` gives such a row a finite result. In Mesh TensorFlow padding sees
    padding, which is of no more use.)

    Args:
        query_segments: `(B, Q)` int, 0 for padding, n for the n-th example packed in
            this row; a padding mask of zeros and ones will do. `None`: each query sees
            every key that is not padding.
        key_segments: `(B, Kl)` int, likewise.
        causal: whether a query sees no key after itself. Queries and keys are then the
            same tokens.
        prefix: `(B, Kl)` bool: tokens that see each other even so (prefix LM), if
            `causal`.

    Raises:
        ValueError: if the masks have other shapes than these, or `prefix` comes without
            `causal`.
    """
    _check(query_segments, key_segments, causal, prefix)
    real = ops.expand_dims(ops.not_equal(key_segments, 0), axis=1)  # (B, 1, Kl)
    if query_segments is not None:
        real = ops.logical_and(real, _outer(ops.equal, query_segments, key_segments))
    mask = ops.expand_dims(real, axis=1)
    if causal:
        positions = ops.arange(ops.shape(key_segments)[1])
        mask = ops.logical_and(mask, causal_mask(positions, positions, prefix))
    return mask


def causal_mask(query_positions, key_positions, prefix=None):
    """Returns which keys are not after each query, `(1 or B, 1, Q, Kl)` bool.

    Args:
        query_positions: `(Q,)` int, indices into the keys.
        key_positions: `(Kl,)` int, 0, 1, 2, ...
        prefix: `(B, Kl)` bool: tokens that see each other even so.
    """
    mask = ops.greater_equal(
        ops.expand_dims(query_positions, axis=1),
        ops.expand_dims(key_positions, axis=0),
    )
    mask = ops.expand_dims(mask, axis=(0, 1))
    if prefix is not None:
        prefix = ops.cast(prefix, "bool")
        queries = ops.take(prefix, query_positions, axis=1)
        within = _outer(ops.logical_and, queries, prefix)
        mask = ops.logical_or(mask, ops.expand_dims(within, axis=1))
    return mask


def _outer(compare, queries, keys):
    """Returns `compare` of each query `(B, Q)` with each key `(B, Kl)`."""
    return compare(ops.expand_dims(queries, axis=2), ops.expand_dims(keys, axis=1))


def _check(query_segments, key_segments, causal, prefix):
    named = {"query_segments": query_segments, "key_segments": key_segments}
    for name, given in {**named, "prefix": prefix}.items():
        if given is not None and len(given.shape) != 2:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}: give one integer per token, "
                "(batch, length), 0 for padding."
            )
    if prefix is not None and not causal:
        raise ValueError(
            "prefix was given without causal=True: without it every token sees the "
            "prefix anyway. Leave prefix out, or make the stack causal."
        )
    if causal and query_segments is not None:
        queries, keys = query_segments.shape[1], key_segments.shape[1]
        if None not in (queries, keys) and queries != keys:
            raise ValueError(
                f"A causal mask needs queries and keys to be the same tokens, but "
                f"there are {queries} queries and {keys} keys."
            )
