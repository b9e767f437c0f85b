"""The findings: what each compares, and how it is told."""

import dataclasses
from collections.abc import Callable

from benchmarks.paper import distillation, finetuning, plots, pretraining, summary


@dataclasses.dataclass(frozen=True)
class Finding:
    """A question to the paper.

    Args:
        title: what it is about, and where the paper has it.
        runs: function that returns pairs, the folder of a run and its `Case`; the first
            is what the others are compared with.
        table: function of `summary` that makes the table.
        heading: what the table shows.
        plots: functions of `plots`, each of which draws a picture.
    """

    title: str
    runs: Callable
    table: Callable = summary.losses
    heading: str = "Held-out loss, nats a token"
    plots: tuple[Callable, ...] = (plots.curves,)


FINDINGS = {
    "experts": Finding(
        "More experts, equal FLOPs (figures 1, 4)",
        pretraining.experts,
        plots=(plots.curves, plots.over_experts),
    ),
    "distillation": Finding(
        "Distillation (table 6)", distillation.students, summary.shares
    ),
    "initialization": Finding(
        "Scale of the initializer (table 3)", pretraining.initialization
    ),
    "exploration": Finding("Exploration (table 11)", pretraining.exploration),
    "choices": Finding(
        "One expert a token or two, equal capacity (table 1)", pretraining.choices
    ),
    "capacity": Finding(
        "Tokens dropped (section 2.2)", pretraining.capacity, plots=(plots.dropped,)
    ),
    "precision": Finding("Precision (table 2)", pretraining.precision),
    "finetuning": Finding(
        "Dropout in fine-tuning (table 4)",
        finetuning.tuned,
        summary.accuracies,
        "Questions of TREC's test set that are sorted right",
        plots=(),
    ),
}
