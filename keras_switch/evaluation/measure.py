"""What is measured on the tasks of a split."""

import dataclasses

from keras_switch.data.config import DataConfig
from keras_switch.evaluation.measurement import Measurement


@dataclasses.dataclass(frozen=True)
class TaskMetrics:
    """What is measured on each task of a split.

    The metrics of the task by SeqIO's evaluator, on what the model writes or how likely
    it finds the targets; and of every task loss, perplexity and accuracy of tokens, and
    the use of the experts.

    Args:
        num_examples: most examples of a task, from its beginning; `None`: all.
        max_tokens: most tokens of an answer; `None`: the room for targets.

    Raises:
        ValueError: if a number is below 1.
    """

    num_examples: int | None = None
    max_tokens: int | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise ValueError(f"TaskMetrics.{field.name}={value}, give 1 or more.")

    def measurement(self, model, data: DataConfig, config, log_dir=None):
        """Returns the `Measurement` of a model, for several times."""
        return Measurement(self, model, data, config, log_dir)

    def measure(self, model, data: DataConfig, config, log_dir=None, step=None):
        """Returns what a model reaches on every task that has the split.

        Args:
            model: see `Measurement`.
            data: see `Measurement`.
            config: see `Measurement`.
            log_dir: see `Measurement`.
            step: the model's, for the names of files.

        Returns:
            By task: `TaskResult`.

        Raises:
            ValueError: if no task has the split.
        """
        return self.measurement(model, data, config, log_dir).results(step)
