"""`keras-switch eval`."""

import contextlib
import json
import pathlib
import time

from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import batches_for, mesh_of
from keras_switch.cli.table import table
from keras_switch.data import DataConfig
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_on
from keras_switch.training import config_file, experts
from keras_switch.training.batches import build

RESULTS = "eval.jsonl"
NEWEST, BEST = "newest", "best"


def evaluate(
    model: ModelConfig,
    data: DataConfig,
    model_dir: str,
    checkpoint: str | int = NEWEST,
    steps: int | None = None,
    dtype: str = "float32",
    mesh_shape: str | None = None,
    layout_rules: str | None = None,
):
    """Evaluates a checkpoint of a run on a split; prints a table.

    Args:
        model: what was trained.
        data: batches to evaluate on; they must end, or `steps` says where.
        model_dir: folder of the run. A line with the results is added to its
            `eval.jsonl`.
        checkpoint: `"newest"`, `"best"` (by the evaluations of the run), or the step of
            one that is kept.
        steps: most batches to take.
        dtype: dtype policy.
        mesh_shape: axes of a mesh, any that fits: not the run's by itself. `None`: one
            device.
        layout_rules: see `train`.

    Returns:
        Loss per token, perplexity, accuracy, and what the experts did, by name.

    Raises:
        ValueError: if there is no such checkpoint.
        CheckpointError: if it is of another model.
    """
    _check_folder(model_dir)
    config_file.check(model_dir, model)
    mesh = mesh_of(model, dtype, mesh_shape, layout_rules)
    clients = clients_on(mesh)
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
    return values


def _check_folder(model_dir):
    if not any(pathlib.Path(model_dir).glob("checkpoints/*.index")):
        raise ValueError(
            f"There is no checkpoint in {str(model_dir)!r}: give the --model_dir of a "
            "run of `keras-switch train`."
        )


def _restore(network, model_dir, model, checkpoint):
    """Loads the weights of a checkpoint; returns its step."""
    checkpoints = training.Checkpoints(network, model_dir=model_dir, config=model)
    if checkpoint == BEST:
        return checkpoints.restore_best()
    if checkpoint == NEWEST:
        return checkpoints.restore()
    kept = {path.rpartition("-")[2]: path for path in checkpoints.all}
    if str(checkpoint) not in kept:
        raise ValueError(
            f"There is no checkpoint {checkpoint!r} in {str(model_dir)!r}. Steps kept: "
            f"{', '.join(kept)}; or say {NEWEST!r} or {BEST!r}."
        )
    return checkpoints.restore(kept[str(checkpoint)])


def _report(values, model_dir, step, data):
    rows = [(name, f"{value:,.4g}") for name, value in values.items()]
    title = f"{model_dir}, step {step}, on {data.task} {data.split}"
    return f"\n{title}\n{table(rows)}"


def _append(model_dir, step, data, values, use):
    line = {
        "step": step,
        "task": data.task,
        "split": data.split,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "values": values,
        "experts": use,
    }
    with (pathlib.Path(model_dir) / RESULTS).open("a") as file:
        file.write(json.dumps(line) + "\n")
