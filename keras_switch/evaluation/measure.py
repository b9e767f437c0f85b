"""Measures a model on a task or mixture: a dictionary of values for every task."""

import dataclasses
import logging
import math
import uuid

from keras_switch import training
from keras_switch.data import batches, environment, registry
from keras_switch.data.config import DataConfig
from keras_switch.data.features import form_of
from keras_switch.evaluation.answers import Answers
from keras_switch.evaluation.scores import Scores
from keras_switch.partitioning.clients import clients_of
from keras_switch.training import experts
from keras_switch.training.paths import path_of


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

    def measure(self, model, data: DataConfig, config, log_dir=None, step=None):
        """Returns what a model reaches on every task that has the split.

        Args:
            model: language model with logits and `generate`.
            data: what to measure on: one ordered pass over `data.split`, not packed.
            config: `ModelConfig` of the model.
            log_dir: folder for the model's answers, a file of JSON lines for each task;
                `None` keeps none.
            step: the model's, for the names of files.

        Returns:
            By task: `TaskResult`.

        Raises:
            ValueError: if no task has the split.
        """
        clients = clients_of(model)
        if clients.number > 1:
            raise ValueError(
                f"Metrics of tasks are measured by one process, not by "
                f"{clients.number}: start `keras-switch eval` in one, on a checkpoint."
            )
        data = dataclasses.replace(data.for_evaluation(data.split), pack=False)
        tasks = [
            task
            for task in registry.subtasks(registry.find(data.task, data.vocabulary))
            if data.split in task.splits
        ]
        if not tasks:
            raise ValueError(
                f"No task of {data.task_name!r} has a split {data.split!r}."
            )
        if log_dir is not None:
            path_of(log_dir).mkdir(parents=True, exist_ok=True)
        tools = _Tools(model, config, data, self)
        return {task.name: tools.result(task, log_dir, step) for task in tasks}


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


class _Tools:
    """What all tasks share: traced functions, and how a model reads examples."""

    def __init__(self, model, config, data, options):
        self.model, self.config = model, config
        self.data, self.options = data, options
        self._step = training.EvalStep(model)
        self._scores = {}

    def result(self, task, log_dir, step):
        data = dataclasses.replace(self.data, task=task, vocabulary=None)
        metrics = self._metrics(task, data, log_dir, step)
        return TaskResult(metrics, *self._tokens(data))

    def _tokens(self, data):
        """Returns means over the targets' tokens, and the use of the experts."""
        steps = self.options.num_examples
        if steps is not None:
            steps = math.ceil(steps / data.batch_size)
        experts.reset_experts(self.model)
        found = training.evaluate(self._step, batches(data, self.config), steps)
        use = experts.expert_use(self.model)
        experts.reset_experts(self.model)
        return found, use

    def _metrics(self, task, data, log_dir, step):
        """Returns the values of a task's own metrics, by SeqIO's evaluator."""
        if not task.metric_objs:
            return {}
        form = form_of(self.config, task)
        evaluator = _evaluator(task, form, data, self.options.num_examples, log_dir)
        found, _ = evaluator.evaluate(
            compute_metrics=True,
            step=step,
            predict_fn=self._answers(task, form, data),
            score_fn=self._scores_of(form, data),
        )
        values = found.result()[task.name]
        return {name: float(getattr(v, "value", v)) for name, v in values.items()}

    def _answers(self, task, form, data):
        if "inputs" not in form.features:
            return None  # nothing is asked, so there is no answer
        end = task.output_features["targets"].vocabulary.eos_id
        room = self.options.max_tokens or data.lengths["targets"]
        return Answers(self.model, form, data.batch_size, room, end)

    def _scores_of(self, form, data):
        if form not in self._scores:
            self._scores[form] = Scores(self.model, form, data.batch_size)
        return self._scores[form]


def _evaluator(task, form, data, num_examples, log_dir):
    """Returns a `seqio.Evaluator` of one task, which need not be registered."""
    seqio = environment.load("seqio")
    name = f"keras_switch_evaluation_{uuid.uuid4().hex}"
    seqio.TaskRegistry.add_provider(name, task)
    logger, level = logging.getLogger("absl"), logging.getLogger("absl").level
    logger.setLevel(logging.ERROR)  # its advice on lengths is not for our users
    try:
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
        logger.setLevel(level)
        seqio.TaskRegistry.remove(name)
