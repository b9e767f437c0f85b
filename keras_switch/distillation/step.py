"""A training step of a student, and the run made of such steps."""

import functools

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch import training
from keras_switch.distillation.soft_targets import IDS, LOGITS, SoftTargets, split
from keras_switch.distillation.teachers import as_teacher, check_logits
from keras_switch.distillation.vocabularies import size_of
from keras_switch.partitioning.transfer import full
from keras_switch.training.batches import unpack
from keras_switch.training.token_sums import token_sums

_ABSENT = -1e9  # logit of a word that was not kept


class DistillStep(training.TrainStep):
    """A `TrainStep` whose loss is partly the teacher's; see there and `SoftTargets`.

    Metrics are those of a `TrainStep`, all of the hard loss alone except `loss`, which
    is what is minimized, and `soft_loss`.

    Args:
        model: the student.
        optimizer: of the student.
        loss: the hard loss.
        teacher: see `as_teacher`; `None` if batches bring a teacher's logits along, as
            those of `cached_batches` do.
        soft_targets: `SoftTargets`.
        **options: of `TrainStep`.

    Raises:
        ValueError: if teacher and student have different vocabularies.
    """

    def __init__(
        self, model, optimizer, loss, teacher=None, soft_targets=None, **options
    ):
        super().__init__(model, optimizer, loss, **options)
        self.teacher = None if teacher is None else as_teacher(teacher)
        self.soft_targets = soft_targets or SoftTargets()
        self._started = False
        if self.teacher is not None:
            self.teacher.check(model)

    def __call__(self, batch):
        """Makes one step; see `TrainStep`."""
        inputs, targets, weights = unpack(batch)
        inputs, told = split(inputs)
        if not self._has_started():
            return self._run(inputs, targets, weights)
        if told is None:
            told = {LOGITS: self._asked(inputs, targets)}
        elif IDS in told and self._mesh is not None:
            told = {LOGITS: spread(told, size_of(self.model))}
        return self._run({**inputs, **told}, targets, weights)

    def _asked(self, inputs, targets):
        if self.teacher is None:
            raise ValueError(
                "There is no teacher, and batches bring no logits of one: give a "
                "teacher, or batches of distillation.cached_batches."
            )
        logits = self.teacher(inputs, self._mesh)
        if not (tf.is_tensor(logits) and dtensor.is_dtensor(logits)):
            check_logits(logits, targets, self.model)
        return logits

    def _has_started(self):
        if not self._started:
            # Only until then: it waits for the device.
            made = int(full(self.optimizer.iterations))
            self._started = made >= self.soft_targets.start_step
        return self._started

    def _losses(self, inputs, targets, weights):
        inputs, told = split(inputs)
        outputs = self.model(inputs, training=True)
        sums = token_sums(self.loss, targets, outputs, weights)
        aux = self.aux_loss(self.model)
        if told is None:
            return {**sums, "soft_loss": tf.zeros(())}, aux
        z_loss = getattr(self.loss, "z_loss", 0.0)
        soft = self.soft_targets.losses(outputs, told, z_loss)
        soft = tf.reduce_sum(soft * weights)
        share = self.soft_targets.weight
        loss = (1 - share) * sums["loss"] + share * soft
        return {**sums, "loss": loss, "soft_loss": soft}, (1 - share) * aux

    def _names(self):
        return (*super()._names(), "soft_loss")

    @property
    def _mesh(self):
        return getattr(self.model, "mesh", None)


def distill(
    student, teacher, optimizer, loss, train_data, *, soft_targets=None, **options
):
    """Trains a student on true words and on its teacher's probabilities.

    Everything else is as in `training.train`: checkpoints are the student's, a run goes
    on by itself, evaluations are of the student alone.

    Args:
        student: built Keras model.
        teacher: see `as_teacher`; `None` if the data bring logits along.
        optimizer: of the student.
        loss: the hard loss, such as `TokenCrossEntropy()`.
        train_data: see `training.train`.
        soft_targets: `SoftTargets`; `None`: those of the paper.
        **options: of `training.train`.

    Returns:
        The `training.History`.

    Example:
        >>> ks.distillation.NonExpertWeights().copy(teacher, student)
        >>> ks.distillation.distill(student, teacher, Adafactor(1e-3),
        ...     TokenCrossEntropy(), batches, steps=1000, model_dir="runs/student")
    """
    make_step = functools.partial(
        DistillStep, teacher=teacher, soft_targets=soft_targets
    )
    return training.train(
        student, optimizer, loss, train_data, make_step=make_step, **options
    )


def spread(told, vocab_size):
    """Returns logits `(B, T, V)` of the words that were kept; others cannot be had."""
    logits, ids = np.asarray(told[LOGITS]), np.asarray(told[IDS])
    found = np.full((*ids.shape[:-1], vocab_size), _ABSENT, "float32")
    np.put_along_axis(found, ids.astype("int64"), logits, axis=-1)
    return found
