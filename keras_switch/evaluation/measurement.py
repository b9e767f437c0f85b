"""Measures a model on a task or mixture: a dictionary of values for every task."""

import dataclasses
import math
import uuid

from keras_switch import training
from keras_switch.data import batches, environment, registry
from keras_switch.data.config import DataConfig
from keras_switch.data.features import form_of
from keras_switch.evaluation.answers import Answers
from keras_switch.evaluation.result import TaskResult
from keras_switch.evaluation.scores import Scores
from keras_switch.partitioning.clients import clients_of
from keras_switch.training import experts
from keras_switch.training.paths import path_of


class Measurement:
    """Measures a model as often as wanted: traced once, examples read once.

    On several processes all call the same methods and get the same results. Each
    decodes and scores its rows of every batch; the answers are put together.

    Args:
        options: `TaskMetrics`.
        model: language model with logits and `generate`, on a mesh or on none.
        data: `DataConfig`: one ordered pass over its split, not packed.
        config: `ModelConfig` of the model.
        log_dir: folder for the model's answers, a file of JSON lines for each task and
            step; `None` keeps none.

    Raises:
        ValueError: if no task has the split.
    """

    def __init__(self, options, model, data: DataConfig, config, log_dir=None):
        if log_dir is not None and clients_of(model).is_first:
            path_of(log_dir).mkdir(parents=True, exist_ok=True)
        else:
            log_dir = None
        data = dataclasses.replace(data.for_evaluation(data.split), pack=False)
        tools = _Tools(model, config, options, log_dir)
        self._tasks = {
            task.name: tools.task(dataclasses.replace(data, task=task, vocabulary=None))
            for task in registry.subtasks(registry.find(data.task, data.vocabulary))
            if data.split in task.splits
        }
        if not self._tasks:
            raise ValueError(
                f"No task of {data.task_name!r} has a split {data.split!r}."
            )

    def results(self, step=None) -> dict[str, TaskResult]:
        """Returns what the model reaches now on every task.

        Args:
            step: the model's, for the names of files.
        """
        return {name: task.result(step) for name, task in self._tasks.items()}


class _Tools:
    """What all tasks share: traced functions, and how a model reads examples."""

    def __init__(self, model, config, options, log_dir):
        self.model, self.config = model, config
        self.options, self.log_dir = options, log_dir
        self.step = training.EvalStep(model)
        self._scores = {}

    def task(self, data):
        share, limit = clients_of(self.model).share, self.options.num_examples
        own = batches(data, self.config, num_shards=share.of, shard=share.index)
        steps = limit and math.ceil(limit / data.batch_size)
        seqio = self._seqio(data) if data.task.metric_objs else None
        return _Task(self.step, own, steps, seqio)

    def _seqio(self, data):
        form = form_of(self.config, data.task)
        return _Seqio(
            _evaluator(data, form, self.options.num_examples, self.log_dir),
            self._answers(data, form),
            self._scores_of(data, form),
        )

    def _answers(self, data, form):
        if "inputs" not in form.features:
            return None  # nothing is asked, so there is no answer
        end = data.task.output_features["targets"].vocabulary.eos_id
        room = self.options.max_tokens or data.lengths["targets"]
        return Answers(self.model, form, data.batch_size, room, end)

    def _scores_of(self, data, form):
        if form not in self._scores:
            self._scores[form] = Scores(self.model, form, data.batch_size)
        return self._scores[form]


@dataclasses.dataclass(frozen=True)
class _Seqio:
    """SeqIO's evaluator of a task, and what decodes and scores for it."""

    evaluator: object
    answers: Answers | None
    scores: Scores

    def metrics(self, step):
        """Returns the values of the task's own metrics."""
        found, _ = self.evaluator.evaluate(
            compute_metrics=True,
            step=step,
            predict_fn=self.answers,
            score_fn=self.scores,
        )
        (values,) = found.result().values()
        return {name: float(getattr(v, "value", v)) for name, v in values.items()}


@dataclasses.dataclass(frozen=True)
class _Task:
    """One task: its batches, how many to take, and SeqIO's part if it has metrics."""

    step: training.EvalStep
    batches: object
    steps: int | None
    seqio: _Seqio | None

    def result(self, step):
        metrics = {} if self.seqio is None else self.seqio.metrics(step)
        return TaskResult(metrics, *self._tokens())

    def _tokens(self):
        """Returns means over the targets' tokens, and the use of the experts."""
        model = self.step.model
        experts.reset_experts(model)
        found = training.evaluate(self.step, self.batches, self.steps)
        use = experts.expert_use(model)
        experts.reset_experts(model)
        return found, use


def _evaluator(data, form, num_examples, log_dir):
    """Returns a `seqio.Evaluator` of one task, which need not be registered."""
    seqio = environment.load("seqio")
    name = f"keras_switch_evaluation_{uuid.uuid4().hex}"
    seqio.TaskRegistry.add_provider(name, data.task)
    try:
        with environment.quiet():
            return seqio.Evaluator(
                name,
                form.converter(pack=False),
                data.split,
                use_cached=data.cache is not None,
                seed=data.seed,
                sequence_length={n: data.lengths[n] for n in form.features},
                num_examples=num_examples,
                logger_cls=[seqio.JSONLogger] if log_dir else [],
                log_dir=log_dir and str(log_dir),
                async_compute_metrics=False,
            )
    finally:
        seqio.TaskRegistry.remove(name)
