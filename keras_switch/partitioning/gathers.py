"""Gathers on a mesh, where those of `keras.ops` would bring everything everywhere.

Axes: G groups, S rows of a group, M gathered rows, D width, V vocabulary, P its parts.
"""

from keras import ops

from keras_switch.partitioning.scope import constrain


def take_rows(x, index):
    """Returns `(G, M, D)`, rows of `x (G, S, D)`: `x[g, index[g, m]]`.

    Every group gathers among its own rows, so that groups may lie on different devices.
    For TensorFlow only, and without a gradient worth having: callers bring their own.
    """
    import tensorflow as tf

    return tf.gather(x, index, axis=1, batch_dims=1)


def look_up(table, ids, parts):
    """Returns rows `(..., D)` of a table whose rows lie in parts on the devices.

    Every part looks up the ids that it has, and the answers are added: what travels are
    answers, not the table. The gradient is a product with ones and zeros.

    Args:
        table: `(V, D)`, V a multiple of `parts`.
        ids: `(B, L)` or `(B,)` int32.
        parts: P.
    """
    size, width = table.shape
    each = size // parts

    @ops.custom_gradient
    def look_up(table, ids):
        def grad(upstream):
            chosen = ops.equal(
                ops.expand_dims(ids, -1), ops.arange(size, dtype="int32")
            )
            chosen = ops.cast(chosen, upstream.dtype)
            flat = ops.reshape(chosen, (-1, size)), ops.reshape(upstream, (-1, width))
            chosen = constrain(flat[0], "batch", "vocab")
            d_table = ops.einsum("nv,nd->vd", chosen, flat[1])
            return ops.cast(constrain(d_table, "vocab", "d_model"), table.dtype), None

        flat = ops.reshape(ids, (1, -1))
        first = ops.arange(parts, dtype="int32")[..., None] * each
        at = flat - first  # (P, N)
        here = ops.logical_and(at >= 0, at < each)
        at = constrain(ops.where(here, at, 0), "vocab", "batch")
        rows = take_rows(ops.reshape(table, (parts, each, width)), at)
        rows = rows * ops.cast(here, rows.dtype)[..., None]
        rows = constrain(rows, "vocab", "batch", "d_model")
        return ops.reshape(ops.sum(rows, axis=0), (*ids.shape, width)), grad

    return look_up(table, ids)
