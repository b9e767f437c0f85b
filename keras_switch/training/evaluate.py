"""Loss, perplexity and accuracy on data that is not trained on."""

import math

import tensorflow as tf

from keras_switch.partitioning.traced import traced_for
from keras_switch.training.batches import unpack
from keras_switch.training.losses import TokenCrossEntropy
from keras_switch.training.token_sums import token_sums


class EvalStep:
    """Sums over the tokens of a batch, as one graph; keep it between evaluations.

    The loss is the plain cross entropy: no label smoothing, no z-loss, no losses of
    layers, so that it compares across runs.

    Args:
        model: Keras model, called as `model(inputs, training=False)`.
        loss: any Keras loss with a value per target; `TokenCrossEntropy()` by default,
            and whatever the options of a `TokenCrossEntropy`.
        jit_compile: whether XLA compiles the step; not on a mesh.
    """

    def __init__(self, model, loss=None, jit_compile=False):
        self.model = model
        plain = loss is None or isinstance(loss, TokenCrossEntropy)
        self.loss = TokenCrossEntropy() if plain else loss
        self._run = traced_for(model, self._sums, jit_compile)

    def __call__(self, batch):
        """Returns the sums `loss`, `accuracy` and `tokens` of a batch."""
        return self._run(*unpack(batch))

    def _sums(self, inputs, targets, weights):
        outputs = self.model(inputs, training=False)
        return token_sums(self.loss, targets, outputs, weights)


def evaluate(model, data, steps=None, loss=None):
    """Returns means over the tokens of a data set.

    Args:
        model: a Keras model, or an `EvalStep` (which is not traced again).
        data: batches `(inputs, targets, weights)`, from the start each time.
        steps: most batches to take; needed if the data never ends.
        loss: see `EvalStep`.

    Returns:
        `loss` per token, `tokens`, and for token models `perplexity` and `accuracy`.

    Raises:
        ValueError: if there is no batch, or the data never ends and `steps` is None.
    """
    step = model if isinstance(model, EvalStep) else EvalStep(model, loss)
    if steps is None and _is_endless(data):
        raise ValueError(
            "The evaluation data repeats forever: say how many batches to take (steps)."
        )
    batches = data if steps is None else _first(data, steps)
    # Fetched at the end only, so that the device never waits for Python.
    sums = [step(batch) for batch in batches]
    if not sums:
        raise ValueError(
            "The evaluation data is empty: not one batch. With drop_remainder=True the "
            "data must hold at least one full batch; check the split and the filter."
        )
    return _means(sums)


def _means(sums):
    def total(name):
        return math.fsum(float(batch[name]) for batch in sums)

    tokens = total("tokens")
    if not tokens:
        raise ValueError("All targets of the evaluation data are padding (weight 0).")
    loss = total("loss") / tokens
    means = {"loss": loss, "tokens": tokens}
    if "accuracy" in sums[0]:
        means["perplexity"] = math.exp(min(loss, 700.0))  # e**709 is the last float
        means["accuracy"] = total("accuracy") / tokens
    return means


def _first(data, steps):
    for _, batch in zip(range(steps), data, strict=False):
        yield batch


def _is_endless(data):
    is_dataset = isinstance(data, tf.data.Dataset)
    return is_dataset and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
