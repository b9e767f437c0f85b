"""`keras-switch eval`."""

import dataclasses
import json
import time

import keras

from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import ONE_DEVICE, PlacementConfig, batches_for
from keras_switch.cli.table import table
from keras_switch.data import DataConfig, registry
from keras_switch.evaluation import Measurement, Peaks, TaskMetrics, report
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_of
from keras_switch.training import config_file, experts, run_folder
from keras_switch.training.batches import build
from keras_switch.training.paths import path_of

RESULTS = "eval.jsonl"
ALL, PEAK = "all", "peak/"


def evaluate(
    model: ModelConfig | None,
    data: DataConfig,
    model_dir: str,
    checkpoint: str | int = run_folder.NEWEST,
    steps: int | None = None,
    placement: PlacementConfig = ONE_DEVICE,
    metrics: TaskMetrics | None = None,
):
    """Evaluates a checkpoint of a run on a split, or all; prints tables.

    On several processes (see `partitioning/environment.py`) every one calls this; the
    first one prints and writes.

    Args:
        model: what was trained; `None`: what the run has saved.
        data: batches to evaluate on; they must end, or `steps` says where.
        model_dir: folder of the run. A line with the results is added to its
            `eval.jsonl`.
        checkpoint: `"newest"`, `"best"` (by the evaluations of the run), the step of
            one that is kept, or `"peak/sst2"`, the best one on a task. `"all"`: every
            one that is kept, and where each task was best.
        steps: most batches to take.
        placement: dtype policy, and a mesh, any that fits: not the run's by itself.
        metrics: what to measure on each task of a mixture, and on a task with metrics
            of its own; `None`: no more than the loss. The results are added to
            `tasks.jsonl` and TensorBoard, the answers to `answers/`.

    Returns:
        Loss per token, perplexity, accuracy, and what the experts did, by name; of all
        checkpoints such dictionaries by step.

    Raises:
        ValueError: if there is no such checkpoint.
        CheckpointError: if it is of another model.
    """
    _check_folder(model_dir)
    model = model or run_folder.config_of(model_dir)
    config_file.check(model_dir, model)
    mesh = placement.mesh(model)
    keras.utils.set_random_seed(0)  # of weights that are read from the checkpoint
    network = language_model(model, placement.dtype, mesh)
    batches = batches_for(data, model, clients_of(network))
    build(network, batches.element_spec)
    measurement = None
    if metrics is not None and _has_more(data):
        answers = path_of(model_dir) / "answers" / data.split
        measurement = metrics.measurement(network, data, model, answers)
    eval_step = training.EvalStep(network)
    evaluation = _Evaluation(eval_step, batches, data, model_dir, steps, measurement)
    if checkpoint == ALL:
        return evaluation.of_all()
    return evaluation.of(_restore(network, model_dir, checkpoint))[0]


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """What the checkpoints of a run have in common when they are evaluated."""

    eval_step: training.EvalStep
    batches: object
    data: DataConfig
    model_dir: str
    steps: int | None
    measurement: Measurement | None

    @property
    def network(self):
        return self.eval_step.model

    def of_all(self):
        """Returns the values of every checkpoint that is kept, by step."""
        found = {}
        for step in run_folder.steps_kept(self.model_dir):
            run_folder.restore(self.network, self.model_dir, step)
            found[step] = self.of(step)
        if clients_of(self.network).is_first:
            print(_peaks(found, self.model_dir, self.data))
        return {step: values for step, (values, _) in found.items()}

    def of(self, step):
        """Returns the values of the weights of now, and results by task."""
        is_first = clients_of(self.network).is_first
        experts.reset_experts(self.network)
        values = training.evaluate(self.eval_step, self.batches, self.steps)
        use = experts.expert_use(self.network)
        values |= experts.expert_summary(use)
        if is_first:
            print(_report(values, self.model_dir, step, self.data))
            _append(self.model_dir, step, self.data, values, use)
        results = self.measurement.results(step) if self.measurement else {}
        if is_first and results:
            _tell(results, self.model_dir, step, self.data)
        return values, results


def _has_more(data):
    """Returns whether there is more to tell of a task than what its tokens say."""
    tasks = registry.subtasks(registry.find(data.task, data.vocabulary))
    return len(tasks) > 1 or bool(tasks[0].metric_objs)


def _check_folder(model_dir):
    if not run_folder.steps_kept(model_dir):
        raise ValueError(
            f"There is no checkpoint in {str(model_dir)!r}: give the --model_dir of a "
            "run of `keras-switch train`."
        )


def _restore(network, model_dir, checkpoint):
    """Loads the weights of a checkpoint; returns its step."""
    if str(checkpoint).startswith(PEAK):
        return Peaks(network, model_dir).restore(checkpoint.removeprefix(PEAK))
    return run_folder.restore(network, model_dir, checkpoint)


def _tell(results, model_dir, step, data):
    """Prints and writes what tasks reach."""
    report.write(results, model_dir, step, data.split)
    print(f"\n{report.table(results)}")
    experts_of_tasks = report.expert_table(results)
    if experts_of_tasks:
        print(f"\nbusiest experts, and their share of the tokens\n{experts_of_tasks}")


def _report(values, model_dir, step, data):
    rows = [(name, f"{value:,.4g}") for name, value in values.items()]
    title = f"{model_dir}, step {step}, on {data.task_name} {data.split}"
    return f"\n{title}\n{table(rows)}"


def _peaks(found, model_dir, data):
    """Returns where the loss was lowest and each task at its best."""
    best = min(found, key=lambda step: found[step][0]["loss"])
    title = f"{model_dir}, {len(found)} checkpoints, on {data.task_name} {data.split}"
    loss = f"lowest loss: {found[best][0]['loss']:,.4g} at step {best:,}"
    results = {step: tasks for step, (_, tasks) in found.items()}
    tasks = f"\n{report.peak_table(results)}" if results[best] else ""
    return f"\n{title}\n{loss}{tasks}"


def _append(model_dir, step, data, values, use):
    line = {
        "step": step,
        "task": data.task_name,
        "split": data.split,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "values": values,
        "experts": use,
    }
    with (path_of(model_dir) / RESULTS).open("a") as file:
        file.write(json.dumps(line) + "\n")
