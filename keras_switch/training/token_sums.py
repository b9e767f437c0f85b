"""Sums over the tokens of a batch, from which means over many batches are made."""

import tensorflow as tf

from keras_switch.partitioning import on_mesh

_OF_TOKENS = ("cross_entropy", "z_loss", "accuracy")


def token_sums(loss, targets, outputs, weights):
    """Returns weighted sums over the targets, float32 scalars by name.

    Args:
        loss: a Keras loss; with a method `components` (`TokenCrossEntropy`), each of
            these and the number of right answers are summed too.
        targets: `(B, T)` int, or what the loss takes.
        outputs: logits `(B, T, V)`, or what the loss takes.
        weights: `(B, T)` float32.
    """
    if not hasattr(loss, "components"):
        values = tf.cast(loss.call(targets, outputs), "float32")
        return {"loss": _sum(values, weights, loss), "tokens": tf.reduce_sum(weights)}
    sums = {
        name: _sum(values, weights, loss)
        for name, values in loss.components(targets, outputs).items()
    }
    right = tf.cast(tf.equal(_answers(outputs, targets.dtype), targets), "float32")
    return {
        "loss": tf.add_n(list(sums.values())),
        **sums,
        "accuracy": tf.reduce_sum(right * weights),
        "tokens": tf.reduce_sum(weights),
    }


def names(loss):
    """Returns the names that `token_sums` gives for this loss."""
    of_tokens = _OF_TOKENS if hasattr(loss, "components") else ()
    return ("loss", *of_tokens, "tokens")


def denominator(loss, weights):
    """Returns what the sum of token losses is divided by, as `loss.reduction` says."""
    if loss.reduction == "mean_with_sample_weight":
        return tf.reduce_sum(weights)
    if loss.reduction in ("sum_over_batch_size", "mean"):
        return tf.cast(tf.size(weights), "float32")
    return tf.ones(())


def _answers(logits, dtype):
    """Returns the first of the words with the greatest logit."""
    if not on_mesh():
        return tf.argmax(logits, axis=-1, output_type=dtype)
    # On a mesh, argmax would bring the logits of the whole vocabulary together.
    size = logits.shape[-1]
    greatest = logits >= tf.reduce_max(logits, axis=-1, keepdims=True)
    words = tf.where(greatest, tf.range(size, dtype=dtype), size)
    return tf.reduce_min(words, axis=-1)


def _sum(values, weights, loss):
    """Returns the weighted sum of the values of each target."""
    if values.shape.rank != weights.shape.rank:
        raise ValueError(
            f"The loss {loss.name!r} has values of shape {tuple(values.shape)}, but "
            f"the weights have {tuple(weights.shape)}: give one weight per value."
        )
    return tf.reduce_sum(values * weights)
