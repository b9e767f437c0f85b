"""How long a run is and how often it does what."""

import dataclasses


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

    def __post_init__(self):
        mistakes = [
            f"{field.name}={getattr(self, field.name)!r} must be above 0"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None and getattr(self, field.name) <= 0
        ]
        if mistakes:
            raise ValueError(f"RunConfig: {'; '.join(mistakes)}.")
