"""Results of tasks for people, for programs and for TensorBoard."""

import json
import math
import time

import numpy as np
import tensorflow as tf

from keras_switch.partitioning.table import aligned
from keras_switch.training.paths import path_of

RESULTS = "tasks.jsonl"


def table(results) -> str:
    """Returns a line for every task: its metrics, perplexity and accuracy of tokens.

    Args:
        results: by task: `TaskResult`.
    """
    rows = [("task", "metrics", "perplexity", "token accuracy")]
    for task, result in results.items():
        rows.append((task, *_shown(result)))
    scores = [result.score for result in results.values() if result.metrics]
    lines = aligned(rows, gap=3)
    lines.insert(1, "-" * len(lines[0]))
    if len(scores) > 1:
        mean = math.fsum(scores) / len(scores)
        lines.append(f"mean of the metrics of {len(scores)} tasks: {mean:.2f}")
    return "\n".join(lines)


def expert_table(results, top: int = 3) -> str:
    """Returns, for every sparse layer and task, the experts that do most of the work.

    Args:
        results: by task: `TaskResult`.
        top: experts to name.
    """
    layers = list(next(iter(results.values())).experts)
    rows = [("task", *layers)]
    for task, result in results.items():
        loads = [np.asarray(result.experts[layer]["load"]) for layer in layers]
        rows.append((task, *(_busiest(load, top) for load in loads)))
    return "\n".join(aligned(rows, gap=3)) if layers else ""


def peak_table(found) -> str:
    """Returns, for every task, the step at which it was best, and its metrics there.

    Args:
        found: results by step: by task `TaskResult`.
    """
    rows = [("task", "best step", "metrics", "perplexity")]
    for task in next(iter(found.values())):
        step = max(found, key=lambda s: found[s][task].score)
        rows.append((task, f"{step:,}", *_shown(found[step][task])[:2]))
    lines = aligned(rows, gap=3)
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def write(results, model_dir, step: int, split: str):
    """Adds the results to `tasks.jsonl` and TensorBoard in the folder of a run.

    Args:
        results: by task: `TaskResult`.
        model_dir: the folder.
        step: of the checkpoint.
        split: what was measured.
    """
    folder = path_of(model_dir)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with (folder / RESULTS).open("a") as file:
        for task, result in results.items():
            line = {"step": step, "task": task, "split": split, "time": moment}
            line |= {"score": result.score, "values": result.values}
            file.write(json.dumps(_without_nan(line | {"experts": result.experts})))
            file.write("\n")
    writer = tf.summary.create_file_writer(str(folder / "tensorboard" / split))
    with writer.as_default(step=step):
        for task, result in results.items():
            for name, value in result.values.items():
                tf.summary.scalar(f"{task}/{name}", value)
    writer.close()


def _shown(result):
    """Returns metrics, perplexity and accuracy of tokens as a table shows them."""
    metrics = ", ".join(f"{n} {v:.2f}" for n, v in result.metrics.items())
    perplexity, accuracy = result.tokens["perplexity"], result.tokens["accuracy"]
    return metrics or "-", f"{perplexity:,.4g}", f"{accuracy:.1%}"


def _busiest(load, top):
    first = np.argsort(-load, kind="stable")[:top]
    return " ".join(f"{i}:{load[i]:.0%}" for i in first)


def _without_nan(value):
    """Returns nested values with `None` for what JSON cannot say."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
