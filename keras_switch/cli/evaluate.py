"""`keras-switch eval`."""

import contextlib
import json
import time

import keras

from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import batches_for, mesh_of
from keras_switch.cli.table import table
from keras_switch.data import DataConfig, registry
from keras_switch.evaluation import Peaks, TaskMetrics, report
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_on
from keras_switch.training import config_file, experts, run_folder
from keras_switch.training.batches import build
from keras_switch.training.paths import path_of

RESULTS = "eval.jsonl"
NEWEST, BEST, PEAK = "newest", "best", "peak/"


def evaluate(
    model: ModelConfig | None,
    data: DataConfig,
    model_dir: str,
    checkpoint: str | int = NEWEST,
    steps: int | None = None,
    dtype: str = "float32",
    mesh_shape: str | None = None,
    layout_rules: str | None = None,
    metrics: TaskMetrics | None = None,
):
    """Evaluates a checkpoint of a run on a split; prints a table.

    Args:
        model: what was trained; `None`: what the run has saved.
        data: batches to evaluate on; they must end, or `steps` says where.
        model_dir: folder of the run. A line with the results is added to its
            `eval.jsonl`.
        checkpoint: `"newest"`, `"best"` (by the evaluations of the run), the step of
            one that is kept, or `"peak/sst2"`, the best one on a task.
        steps: most batches to take.
        dtype: dtype policy.
        mesh_shape: axes of a mesh, any that fits: not the run's by itself. `None`: one
            device.
        layout_rules: see `train`.
        metrics: what to measure on each task of a mixture, and on a task with metrics
            of its own, in one process; `None`: no more than the loss. The results are
            added to `tasks.jsonl` and TensorBoard, the answers to `answers/`.

    Returns:
        Loss per token, perplexity, accuracy, and what the experts did, by name.

    Raises:
        ValueError: if there is no such checkpoint.
        CheckpointError: if it is of another model.
    """
    _check_folder(model_dir)
    model = model or run_folder.config_of(model_dir)
    config_file.check(model_dir, model)
    mesh = mesh_of(model, dtype, mesh_shape, layout_rules)
    clients = clients_on(mesh)
    keras.utils.set_random_seed(0)  # of weights that are read from the checkpoint
    with mesh or contextlib.nullcontext():
        network = language_model(model, dtype)
    batches = batches_for(data, model, clients)
    build(network, batches.element_spec)
    step = _restore(network, model_dir, model, checkpoint)
    experts.reset_experts(network)
    values = training.evaluate(network, batches, steps)
    use = experts.expert_use(network)
    values |= experts.expert_summary(use)
    if clients.is_first:
        print(_report(values, model_dir, step, data))
        _append(model_dir, step, data, values, use)
    if metrics is not None and clients.number == 1 and _has_more(data):
        _measure(metrics, network, data, model, model_dir, step)
    return values


def _has_more(data):
    """Returns whether there is more to tell of a task than what its tokens say."""
    tasks = registry.subtasks(registry.find(data.task, data.vocabulary))
    return len(tasks) > 1 or bool(tasks[0].metric_objs)


def _measure(metrics, network, data, model, model_dir, step):
    """Measures every task; prints and writes the results."""
    answers = path_of(model_dir) / "answers" / data.split
    results = metrics.measure(network, data, model, answers, step)
    report.write(results, model_dir, step, data.split)
    print(f"\n{report.table(results)}")
    experts_of_tasks = report.expert_table(results)
    if experts_of_tasks:
        print(f"\nbusiest experts, and their share of the tokens\n{experts_of_tasks}")


def _check_folder(model_dir):
    if not any((path_of(model_dir) / "checkpoints").glob("*.index")):
        raise ValueError(
            f"There is no checkpoint in {str(model_dir)!r}: give the --model_dir of a "
            "run of `keras-switch train`."
        )


def _restore(network, model_dir, model, checkpoint):
    """Loads the weights of a checkpoint; returns its step."""
    checkpoints = training.Checkpoints(network, model_dir=model_dir, config=model)
    if str(checkpoint).startswith(PEAK):
        return Peaks(network, model_dir).restore(checkpoint.removeprefix(PEAK))
    if checkpoint == BEST:
        return checkpoints.restore_best()
    if checkpoint == NEWEST:
        return checkpoints.restore()
    kept = {path.rpartition("-")[2]: path for path in checkpoints.all}
    if str(checkpoint) not in kept:
        raise ValueError(
            f"There is no checkpoint {checkpoint!r} in {str(model_dir)!r}. Steps kept: "
            f"{', '.join(kept)}; or say {NEWEST!r}, {BEST!r} or '{PEAK}<task>'."
        )
    return checkpoints.restore(kept[str(checkpoint)])


def _report(values, model_dir, step, data):
    rows = [(name, f"{value:,.4g}") for name, value in values.items()]
    title = f"{model_dir}, step {step}, on {data.task_name} {data.split}"
    return f"\n{title}\n{table(rows)}"


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
