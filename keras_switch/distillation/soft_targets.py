"""Soft targets: the teacher's probabilities beside the true words.

Source: Mesh TensorFlow, transformer.py, `StudentTeacher`; arXiv:2101.03961, section
3.2. Axes: B batch, T length of the targets, V vocabulary, K words that were kept.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing.part import Part

# Names beside the inputs of a model, under which a teacher's answer travels.
LOGITS, IDS = "teacher_logits", "teacher_ids"


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class SoftTargets(Part):
    """How much a student listens to its teacher.

    The loss is `(1 - weight) * hard + weight * soft`. The hard part is what the student
    would be trained on alone, losses of its routers included; the soft part is the
    cross entropy with the teacher's probabilities at `temperature`, times its square.

    Args:
        weight: share of the soft part: 0.25 in the paper.
        temperature: both logits are divided by it: 1 in the paper.
        start_step: updates that are made without the teacher before it is asked.

    Raises:
        ValueError: naming every mistake at once.
    """

    weight: float = 0.25
    temperature: float = 1.0
    start_step: int = 0

    def __post_init__(self):
        mistakes = []
        if not 0 < self.weight <= 1:
            mistakes.append(
                f"weight={self.weight}: give a share above 0, at most 1 (paper: 0.25); "
                "without a teacher, use `train`"
            )
        if not self.temperature > 0:
            mistakes.append(f"temperature={self.temperature}: give a number above 0")
        if self.start_step < 0:
            mistakes.append(f"start_step={self.start_step}: give 0 or more")
        if mistakes:
            raise ValueError(f"SoftTargets: {'; '.join(mistakes)}.")

    def losses(self, logits, told, z_loss=0.0):
        """Returns the soft loss of every token, `(B, T)` float32.

        Args:
            logits: `(B, T, V)`, the student's.
            told: what the teacher said: `teacher_logits`, `(B, T, V)`, or `(B, T, K)`
                with `teacher_ids` of the same shape, the K words it finds likeliest.
            z_loss: weight of the squared logarithm of the student's partition function,
                here at the temperature, as in the hard loss.
        """
        logits = ops.cast(logits, "float32") / self.temperature
        log_z = ops.logsumexp(logits, axis=-1)
        teacher = ops.cast(told[LOGITS], "float32") / self.temperature
        probs = ops.stop_gradient(ops.softmax(teacher, axis=-1))
        kept = logits
        if IDS in told:
            kept = ops.take_along_axis(logits, ops.cast(told[IDS], "int32"), axis=-1)
        loss = log_z - ops.sum(probs * kept, axis=-1)
        return self.temperature**2 * (loss + z_loss * ops.square(log_z))


def split(inputs):
    """Returns a model's inputs, and what a teacher said of them or `None`.

    Args:
        inputs: dictionary of tensors, or what else a model takes.
    """
    if not (isinstance(inputs, dict) and LOGITS in inputs):
        return inputs, None
    told = {name: inputs[name] for name in (LOGITS, IDS) if name in inputs}
    return {k: v for k, v in inputs.items() if k not in told}, told
