"""How long a run is, how often it does what, and what it is evaluated on."""

import dataclasses

from keras_switch.data import DataConfig
from keras_switch.evaluation import TaskMetrics


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The course of a run, in steps.

    Args:
        steps: steps to make in all; a run that is started again makes the rest.
        eval_every: steps between evaluations; there is always one at the end.
        eval_steps: most batches of an evaluation; `None` takes the whole split.
        save_every: steps between checkpoints; there is always one at the end.
        log_every: steps between logs.
        keep: checkpoints to keep.
        microbatches: parts that a batch is computed in, to save memory.
        max_grad_norm: limit of the gradient's global norm; `None` for none.
        seed: of the model's first weights, of dropout and of exploration.

    Raises:
        ValueError: naming every mistake at once.
    """

    steps: int
    eval_every: int | None = None
    eval_steps: int | None = None
    save_every: int | None = None
    log_every: int = 10
    keep: int = 3
    microbatches: int = 1
    max_grad_norm: float | None = None
    seed: int = 0

    def __post_init__(self):
        mistakes = [
            f"{name}={value!r} must be above 0"
            for name, value in self.options.items()
            if value is not None and value <= 0
        ]
        if not 0 <= self.seed < 2**32:
            mistakes.append(f"seed={self.seed!r} must be at least 0 and below 2**32")
        if mistakes:
            raise ValueError(f"RunConfig: {'; '.join(mistakes)}.")

    @property
    def options(self) -> dict:
        """What `training.train` takes of it, by name."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "seed"}


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What a run is evaluated on, and what is measured there.

    Args:
        data: batches, taken from the start each time.
        metrics: what to measure on every task at each evaluation; the weights of each
            task's best are kept. `None`: no more than the loss.
    """

    data: DataConfig
    metrics: TaskMetrics | None = None
