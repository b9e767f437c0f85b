"""One training run of a finding; its result is kept in a file: a stop loses one run."""

import dataclasses
import json
import pathlib

import keras

from benchmarks.common import machine
from benchmarks.report import FOLDER
from keras_switch import training
from keras_switch.cli.demo_report import seconds_per_step
from keras_switch.data import DataConfig, batches
from keras_switch.models import ModelConfig, SwitchCausalLM

import keras_switch.tasks.pydocs  # noqa: F401, isort: skip  # registers the task

BATCH, LENGTH = 64, 64
LOGS = 25


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained.

    Args:
        name: in tables and of files.
        model: the model.
        dtype: dtype policy.
        steps: steps to make.
        rate: learning rate of Adafactor after warm-up, relative to a weight's size.
    """

    name: str
    model: ModelConfig
    dtype: str = "float32"
    steps: int = 1000
    rate: float = 0.03


def result(finding, case, seed):
    """Returns what a run of a case finds, from its file if it was made before.

    Args:
        finding: name of the folder.
        case: what is trained; a file of another case of this name is written anew.
        seed: of weights, batches and exploration.

    Returns:
        `curve`: (step, held-out loss in nats a token) of every evaluation; `loss`: the
        last; `dropped`: the share of tokens without an expert in training, over the
        second half; `seconds_per_step`; `stopped`: how it ended; `case`, `machine`.
    """
    file = pathlib.Path(FOLDER, "paper", finding, f"{case.name}-{seed}.json")
    if file.exists():
        found = json.loads(file.read_text())
        if found["case"] == repr(case):
            return found
    found = {"case": repr(case), "machine": machine(), **_train(case, seed)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _train(case, seed):
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    history = training.History()
    try:
        history = training.train(
            SwitchCausalLM(case.model, dtype=case.dtype),
            training.Adafactor(_schedule(case)),
            training.losses.TokenCrossEntropy(),
            _batches(seed, case.steps),
            steps=case.steps,
            eval_data=_held_out(),
            eval_every=max(case.steps // 20, 1),
            log_every=LOGS,
            observers=[],
        )
    except training.Diverged as diverged:
        return {"curve": [], "loss": None, "stopped": str(diverged)}
    steps, losses = history.curve("loss", "eval")
    late = [
        record.values.get("dropped")
        for record in history.records
        if record.split == "train" and record.step > case.steps / 2
    ]
    return {
        "curve": list(zip(steps, losses, strict=True)),
        "loss": losses[-1],
        "dropped": sum(late) / len(late) if None not in late else None,
        "seconds_per_step": seconds_per_step(history),
        "stopped": history.stopped,
    }


def _schedule(case):
    tail = training.LinearTail(case.rate, total_steps=case.steps, fraction=1.0)
    return training.LinearWarmup(tail, warmup_steps=case.steps // 20)


def _data(**changes):
    config = DataConfig("pydocs_lm", {"targets": LENGTH}, BATCH)
    return dataclasses.replace(config, **changes)


def _batches(seed, steps):
    """Returns the batches of a seed, the same for all cases; made once, then read."""
    folder = pathlib.Path(FOLDER, "paper", "batches", f"{seed}-{steps}")
    if not folder.exists():
        made = batches(_data(seed=seed), "decoder-only").take(steps)
        made.save(str(folder))
    import tensorflow as tf

    return tf.data.Dataset.load(str(folder)).prefetch(2)


def _held_out():
    return batches(_data().for_evaluation(), "decoder-only").take(40).cache()
