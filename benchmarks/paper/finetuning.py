"""Table 4: dropout, and dropout inside experts, when fine-tuning on little data.

TREC's questions, sorted into six classes by writing the class's name. The models are
those of `pretraining.experts`. Files: `$KERAS_SWITCH_DATA/trec`.
"""

import dataclasses

from benchmarks.paper.pretraining import DENSE_CASE, EXPERTS, sparse_case
from benchmarks.paper.runs import Case, trained
from keras_switch import training
from keras_switch.cli.adaptation import Adaptation
from keras_switch.data import DataConfig, batches
from keras_switch.evaluation import TaskMetrics

import keras_switch.tasks.sentences  # noqa: F401, isort: skip  # registers the task

EVERY = 100  # steps between evaluations, as many as two epochs
ANSWER = 8  # tokens of the longest class's name and its end


@dataclasses.dataclass(frozen=True)
class Tuned(Case):
    """A model of `pretraining.experts` that is fine-tuned.

    Args:
        source: its `Case`.
        adaptation: the dropouts.
    """

    source: Case = DENSE_CASE
    adaptation: Adaptation = Adaptation()
    rate: float = 1e-2
    steps: int = 600

    def train(self, seed):
        model = self.fresh(seed, self.adaptation.config(self.source.model))
        _copy(trained("experts", self.source, seed), model)
        accuracies = _Accuracies(model)
        training.train(
            model,
            training.Adafactor(self.rate),
            training.losses.TokenCrossEntropy(),
            batches(_data(seed=seed), model.backbone.config),
            steps=self.steps,
            log_every=EVERY,
            observers=[accuracies],
        )
        found = accuracies.found
        curve = [(step, dev) for step, dev, _ in found]
        peak = max(found, key=lambda row: row[1])
        return model, {"curve": curve, "loss": None, "accuracy": peak[2]}


class _Accuracies(training.Observer):
    """Answers the questions of both held-out sets at every log.

    Attributes:
        found: rows of step, accuracy on `validation` and on `test`.
    """

    def __init__(self, model):
        metrics, config = TaskMetrics(max_tokens=ANSWER), model.backbone.config
        self._sets = [
            metrics.measurement(model, _data(split=split), config)
            for split in ("validation", "test")
        ]
        self.found = []

    def on_record(self, run, record):
        results = [held_out.results()["trec"] for held_out in self._sets]
        right = [result.metrics["accuracy"] / 100 for result in results]
        self.found.append((record.step, *right))


def _data(**changes):
    config = DataConfig("trec", {"inputs": 80, "targets": 16}, 64)
    return dataclasses.replace(config, **changes)


def _copy(source, model):
    """Gives a model the weights of another of the same sizes, by path."""
    given = {variable.path: variable for variable in source.weights}
    for variable in model.trainable_variables:
        variable.assign(given[variable.path])


def tuned():
    """Returns the rows of table 4: the dense model, and experts with more dropout."""
    dropouts = {
        "dense, dropout 0.1": (DENSE_CASE, Adaptation(0.1, 0.0)),
        "sparse, dropout 0.1": (sparse_case(EXPERTS), Adaptation(0.1, 0.1)),
        "sparse, dropout 0.2": (sparse_case(EXPERTS), Adaptation(0.2, 0.2)),
        "sparse, dropout 0.3": (sparse_case(EXPERTS), Adaptation(0.3, 0.3)),
        "sparse, dropout 0.1, experts 0.4": (
            sparse_case(EXPERTS),
            Adaptation(0.1, 0.4),
        ),
    }
    return [
        ("finetuning", Tuned(name, source.model, source=source, adaptation=adaptation))
        for name, (source, adaptation) in dropouts.items()
    ]
