"""How likely a model finds the targets, as SeqIO's evaluator asks for it.

Axes: B batch, T targets.
"""

import tensorflow as tf

from keras_switch.evaluation.batching import batched
from keras_switch.partitioning.clients import clients_of
from keras_switch.partitioning.traced import traced_for
from keras_switch.partitioning.transfer import full
from keras_switch.training import token_losses


class Scores:
    """Function from examples to log-likelihoods: the `score_fn` of `seqio.Evaluator`.

    A score is the sum of the log-probabilities of an example's targets, its end token
    included, in float32. Metrics that compare answers of different lengths divide by
    them if they want to.

    Args:
        model: called as `model(inputs, training=False)`, gives logits.
        form: how it reads examples; see `data/features.py`.
        batch_size: rows at once.
    """

    def __init__(self, model, form, batch_size: int):
        self.model = model
        self.form = form
        self.batch_size = batch_size
        self._run = traced_for(model, self._sums)

    def __call__(self, dataset):
        """Returns pairs: the number of an example, its log-likelihood.

        Args:
            dataset: `tf.data.Dataset` of pairs: the number, features of the model.
        """
        found, share = [], clients_of(self.model).share
        for numbers, features in batched(dataset, self.batch_size, share):
            triple = tf.nest.map_structure(
                tf.convert_to_tensor, self.form.triple(features)
            )
            scores = full(self._run(*triple)).tolist()
            found += zip(numbers, scores, strict=False)  # which may be filled up
        return found

    def _sums(self, inputs, targets, weights):
        """Returns the log-likelihood of every row, `(B,)` float32."""
        logits = self.model(inputs, training=False)
        losses, _ = token_losses(logits, targets)
        return -tf.reduce_sum(losses * weights, axis=-1)
