"""Teacher and student as one Keras model, for plain `compile` and `fit`."""

import tensorflow as tf

from keras_switch.distillation.soft_targets import IDS, LOGITS, SoftTargets, split
from keras_switch.distillation.teachers import ModelTeacher
from keras_switch.partitioning.model import Model
from keras_switch.training.token_sums import denominator


class Distiller(Model):
    """A student that `fit` trains with its teacher; its weights are the student's.

    `keras.distillation.Distiller` averages over padding too and adds the layers' losses
    in full; here the soft loss has the sample weights of the hard one, and hard loss,
    losses of layers and soft loss are mixed as in Mesh TensorFlow. `fit`, `evaluate`
    and `predict` are those of the student; save the student itself.

    Args:
        student: built Keras model.
        teacher: Keras model, on the student's mesh if it has one; `None` if inputs
            bring a teacher's logits along. `distillation.distill` also takes a teacher
            on another mesh, or one that is no Keras model.
        soft_targets: `SoftTargets`; `None`: those of the paper.
        **kwargs: of `keras.Model`.

    Raises:
        ValueError: if vocabularies or meshes differ.

    Example:
    ```python
    distiller = Distiller(student, teacher)
    distiller.compile(ks.training.Adafactor(1e-3), ks.training.TokenCrossEntropy())
    distiller.fit(batches)
    student.save("student.keras")
    ```
    """

    def __init__(self, student, teacher=None, soft_targets=None, **kwargs):
        super().__init__(**kwargs)
        self.student = student
        self.soft_targets = soft_targets or SoftTargets()
        # In something that Keras does not look into: no weights of this model.
        self.teacher = None if teacher is None else ModelTeacher(teacher)
        if teacher is not None:
            self.teacher.check(student)
            if getattr(teacher, "mesh", None) is not self.mesh:
                raise ValueError(
                    "Teacher and student are not on the same mesh: make both inside "
                    "the same `with mesh:`, or use distillation.distill, which asks "
                    "the teacher where it is."
                )
        self.built = True

    @property
    def mesh(self):
        """The mesh of the student, or `None`."""
        return getattr(getattr(self, "student", None), "mesh", None)

    def fit(self, x=None, *args, **kwargs):
        """Trains; see `keras.Model.fit`."""
        if isinstance(x, tf.data.Dataset):  # about whose order Keras would warn
            kwargs.setdefault("shuffle", False)
        return super().fit(x, *args, **kwargs)

    def call(self, inputs, training=False):
        return self.student(split(inputs)[0], training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        hard = super().compute_loss(x, y, y_pred, sample_weight, training)
        inputs, told = split(x)
        if not training:
            return hard
        if told is None:
            told = {LOGITS: self._asked(inputs)}
        elif IDS in told and self.mesh is not None:
            raise ValueError(
                "On a mesh a Distiller takes whole logits, not the words that a cache "
                "kept: use distillation.distill, or a cache without top_k."
            )
        losses = self.soft_targets.losses(y_pred, told, self._z_loss())
        weights = tf.ones_like(losses) if sample_weight is None else sample_weight
        weights = tf.cast(weights, losses.dtype)
        divisor = tf.reduce_sum(weights)
        if hasattr(self.loss, "reduction"):
            divisor = denominator(self.loss, weights)
        soft = tf.math.divide_no_nan(tf.reduce_sum(losses * weights), divisor)
        return (1 - self._share()) * hard + self._share() * soft

    def _asked(self, inputs):
        if self.teacher is None:
            raise ValueError(
                "This Distiller has no teacher, and its inputs bring no logits of one: "
                "give a teacher, or batches of distillation.cached_batches."
            )
        return tf.stop_gradient(self.teacher.model(inputs, training=False))

    def _share(self):
        soft = self.soft_targets
        if not soft.start_step:
            return soft.weight
        started = self.optimizer.iterations >= soft.start_step
        return soft.weight * tf.cast(started, "float32")

    def _z_loss(self):
        return getattr(self.loss, "z_loss", 0.0)
