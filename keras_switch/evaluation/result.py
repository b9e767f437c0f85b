"""What a model reaches on one task."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a model reaches on a task.

    Args:
        metrics: values of the task's own metrics; empty if it has none.
        tokens: `loss`, `perplexity`, `accuracy` over the tokens of the targets.
        experts: what the experts did with the task's tokens, by sparse layer.
    """

    metrics: dict[str, float]
    tokens: dict[str, float]
    experts: dict[str, dict]

    @property
    def score(self) -> float:
        """Returns one number to compare checkpoints by: the greater, the better.

        The mean of the metrics, as T5 averages them; of a task without metrics the mean
        log-likelihood of a token.
        """
        if self.metrics:
            return math.fsum(self.metrics.values()) / len(self.metrics)
        return -self.tokens["loss"]

    @property
    def values(self) -> dict[str, float]:
        """Returns all values by name, those over tokens with `token_` before it."""
        tokens = {f"token_{name}": value for name, value in self.tokens.items()}
        return {**self.metrics, **tokens}
