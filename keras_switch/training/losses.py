"""Cross entropy of tokens as in the originals, in float32 under every dtype policy.

Sources: Mesh TensorFlow `layers.softmax_cross_entropy_with_logits`, T5X
`losses.compute_weighted_cross_entropy`. Axes: B batch, T length, V vocabulary.
"""

import math

import keras
from keras import ops

from keras_switch.partitioning import on_mesh

_SMOOTHINGS = ("flaxformer", "mesh_tensorflow")


def token_losses(
    logits, targets, z_loss=0.0, label_smoothing=0.0, smoothing="flaxformer"
):
    """Returns the cross entropy and the z-loss of every token.

    Args:
        logits: `(..., V)`, any float dtype; computed in float32.
        targets: `(...)` int, in `[0, V)`.
        z_loss: weight of `log(Z)**2`, which keeps logits from drifting (T5: 1e-4).
        label_smoothing: share of the probability taken from the target.
        smoothing: who gets that share. `"flaxformer"` (T5X): the other V - 1 words, and
            the entropy of the smoothed target is subtracted, so that a perfect model
            has loss 0. `"mesh_tensorflow"`: all V words, nothing subtracted.

    Returns:
        Two tensors `(...)` float32: cross entropy, and weighted z-loss.

    Raises:
        ValueError: if an option is out of range.
    """
    _check(z_loss, label_smoothing, smoothing)
    logits = ops.cast(logits, "float32")
    log_z = ops.logsumexp(logits, axis=-1)
    vocab_size = logits.shape[-1]
    target_logits = _at(logits, ops.expand_dims(ops.cast(targets, "int32"), -1))
    loss = log_z - target_logits
    if label_smoothing:
        on, off, constant = _smoothed(vocab_size, label_smoothing, smoothing)
        everyone = vocab_size * log_z - ops.sum(logits, axis=-1)
        loss = (on - off) * loss + off * everyone - constant
    return loss, z_loss * ops.square(log_z)


def cross_entropy(
    logits,
    targets,
    weights=None,
    z_loss=0.0,
    label_smoothing=0.0,
    smoothing="flaxformer",
    denominator=None,
):
    """Returns the mean loss of the tokens, cross entropy plus z-loss, a float32 scalar.

    Args:
        logits: `(B, T, V)`.
        targets: `(B, T)` int.
        weights: `(B, T)`, 0 for padding; all ones if not given.
        z_loss: see `token_losses`, as for the next two.
        label_smoothing: see there.
        smoothing: see there.
        denominator: what the sum is divided by. The sum of the weights if not given
            (T5X: real tokens); Mesh TensorFlow divides by all positions, B * T.
    """
    loss, z = token_losses(logits, targets, z_loss, label_smoothing, smoothing)
    weights = ops.ones_like(loss) if weights is None else ops.cast(weights, "float32")
    if denominator is None:
        denominator = ops.sum(weights)
    total = ops.sum((loss + z) * weights)
    return ops.divide_no_nan(total, ops.cast(denominator, "float32"))


@keras.saving.register_keras_serializable("keras_switch")
class TokenCrossEntropy(keras.losses.Loss):
    """Cross entropy of target tokens, for `model.compile` and for `TrainStep`.

    Padding is told by the sample weights, `(B, T)`, the third part of a batch.

    Args:
        z_loss: see `token_losses`, as for the next two.
        label_smoothing: see there.
        smoothing: see there.
        reduction: `"mean_with_sample_weight"` divides by the real tokens (T5X),
            `"sum_over_batch_size"` by all positions (Mesh TensorFlow).
        name: name of the loss.
        dtype: float32 whatever the policy of the model.

    Example:
        >>> model.compile("adam", loss=TokenCrossEntropy(z_loss=1e-4))
        >>> model.fit(batches)  # of (inputs, targets, weights)
    """

    def __init__(
        self,
        z_loss=0.0,
        label_smoothing=0.0,
        smoothing="flaxformer",
        reduction="mean_with_sample_weight",
        name="token_cross_entropy",
        dtype="float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        _check(z_loss, label_smoothing, smoothing)
        self.z_loss = z_loss
        self.label_smoothing = label_smoothing
        self.smoothing = smoothing

    def components(self, y_true, y_pred):
        """Returns what the loss of each token is the sum of, by name."""
        loss, z = token_losses(
            y_pred, y_true, self.z_loss, self.label_smoothing, self.smoothing
        )
        return {"cross_entropy": loss, "z_loss": z}

    def call(self, y_true, y_pred):
        return sum(self.components(y_true, y_pred).values())

    def get_config(self):
        return {
            **super().get_config(),
            "z_loss": self.z_loss,
            "label_smoothing": self.label_smoothing,
            "smoothing": self.smoothing,
            "dtype": "float32",
        }


def _at(logits, targets):
    """Returns the logits `(..., V)` of the targets `(..., 1)`, `(...)`."""
    if not on_mesh():
        return ops.squeeze(ops.take_along_axis(logits, targets, axis=-1), -1)
    # The gradient of that gather would bring all logits to every device.
    chosen = ops.equal(targets, ops.arange(logits.shape[-1], dtype="int32"))
    return ops.sum(logits * ops.cast(chosen, logits.dtype), axis=-1)


def _smoothed(vocab_size, label_smoothing, smoothing):
    """Returns the target's probability, every other word's, and what is subtracted."""
    if smoothing == "mesh_tensorflow":
        off = label_smoothing / vocab_size
        return 1.0 - label_smoothing + off, off, 0.0
    on, off = 1.0 - label_smoothing, label_smoothing / (vocab_size - 1)
    # T5X adds 1e-20 inside the logarithm, which nothing here can notice.
    entropy = -(on * math.log(on) + (vocab_size - 1) * off * math.log(off))
    return on, off, entropy


def _check(z_loss, label_smoothing, smoothing):
    """Raises ValueError if an option cannot be meant."""
    if z_loss < 0:
        raise ValueError(f"z_loss={z_loss} is negative; T5 uses 1e-4, 0 turns it off.")
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing={label_smoothing} must be at least 0 and below 1."
        )
    if smoothing not in _SMOOTHINGS:
        raise ValueError(
            f"smoothing={smoothing!r} is unknown: use one of {_SMOOTHINGS}."
        )
