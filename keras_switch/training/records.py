"""What a run tells about itself: records, their history, averages over steps."""

import dataclasses
import math
import time

# Values of a step that are not means over tokens.
_LAST, _MEAN, _SUM = ("learning_rate",), ("aux_loss", "grad_norm"), ("tokens",)


@dataclasses.dataclass(frozen=True)
class Record:
    """Measurements at one step.

    Args:
        step: steps made so far.
        split: `"train"` or `"eval"`.
        values: scalars by name.
        experts: by sparse layer, what `experts.expert_use` gives.
        seconds: since the run was started or resumed.
        time: of day, UTC.
    """

    step: int
    split: str
    values: dict[str, float]
    experts: dict[str, dict] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    time: str = dataclasses.field(default_factory=lambda: _now())


@dataclasses.dataclass
class History:
    """The course and the end of a run.

    Args:
        records: one per log and per evaluation, those before a resumption included.
        step: steps made.
        stopped: why the run ended, in words.
        checkpoint: path of the last checkpoint, or None.
    """

    records: list[Record] = dataclasses.field(default_factory=list)
    step: int = 0
    stopped: str = ""
    checkpoint: str | None = None

    def curve(self, name, split="train"):
        """Returns the steps and the values of one measurement, as two lists."""
        points = [
            (record.step, record.values[name])
            for record in self.records
            if record.split == split and name in record.values
        ]
        return [step for step, _ in points], [value for _, value in points]

    def last(self, split="train"):
        """Returns the values of the last record of a split; empty if there is none."""
        values = [r.values for r in self.records if r.split == split]
        return values[-1] if values else {}


def average(metrics):
    """Returns the metrics of several steps as one: means are weighted by tokens.

    Args:
        metrics: list of dictionaries of floats, as `TrainStep` returns.
    """
    tokens = [step["tokens"] for step in metrics]
    return {name: _average(name, metrics, tokens) for name in metrics[-1]}


def _average(name, metrics, tokens):
    values = [step[name] for step in metrics]
    if name in _LAST:
        return values[-1]
    if name in _SUM:
        return math.fsum(values)
    if name in _MEAN or not sum(tokens):
        return math.fsum(values) / len(values)
    weighted = (v * w for v, w in zip(values, tokens, strict=True) if w)
    return math.fsum(weighted) / math.fsum(tokens)


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
