"""One training run of a finding; its result is kept in a file: a stop loses one run."""

import dataclasses
import json
import pathlib

import keras

from benchmarks.common import machine
from benchmarks.report import FOLDER
from keras_switch import training
from keras_switch.data import DataConfig, batches
from keras_switch.models import ModelConfig, SwitchBackbone, SwitchCausalLM

import keras_switch.tasks.pydocs  # noqa: F401, isort: skip  # registers the task

BATCH, LENGTH = 32, 64
EVAL_EVERY, HELD_OUT = 120, 8
LOGS = 25
WARMUP = 50


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained, here from nothing on the embedded corpus.

    Args:
        name: in tables and of files.
        model: the model.
        dtype: dtype policy.
        steps: steps to make.
        rate: learning rate of Adafactor at first, relative to a weight's size.
    """

    name: str
    model: ModelConfig
    dtype: str = "float32"
    steps: int = 3600
    rate: float = 0.06

    def train(self, seed):
        """Returns the trained model and what `result` tells of it."""
        model = self.fresh(seed)
        return model, self.fit(model, seed)

    def fresh(self, seed, config=None):
        """Returns a model with the random weights of a seed."""
        keras.utils.set_random_seed(seed)
        return SwitchCausalLM(SwitchBackbone(config or self.model, dtype=self.dtype))

    def fit(self, model, seed, **options):
        """Trains on the embedded corpus; `options` of `training.train`."""
        try:
            history = training.train(
                model,
                training.Adafactor(self.schedule()),
                training.losses.TokenCrossEntropy(),
                train_data(seed, self.steps),
                steps=self.steps,
                eval_data=held_out(),
                eval_every=min(EVAL_EVERY, self.steps),
                log_every=LOGS,
                observers=[],
                **options,
            )
        except training.Diverged as diverged:
            return {"curve": [], "loss": None, "stopped": str(diverged)}
        return told(history)

    def schedule(self):
        """Returns the paper's schedule: constant, then by the square root of steps."""
        return training.InverseSquareRoot(self.rate * WARMUP**0.5, WARMUP)


def told(history):
    """Returns what a run found; see `result`."""
    steps, losses = history.curve("loss", "eval")
    late = [
        record.values.get("dropped")
        for record in history.records
        if record.split == "train" and record.step > history.step / 2
    ]
    return {
        "curve": list(zip(steps, losses, strict=True)),
        "loss": losses[-1],
        "dropped": sum(late) / len(late) if None not in late else None,
        "stopped": history.stopped,
    }


def result(finding, case, seed):
    """Returns what a run of a case finds, from its file if it was made before.

    Args:
        finding: name of the folder.
        case: what is trained; a file of another case of this name is written anew.
        seed: of weights, batches and exploration.

    Returns:
        `curve`: (step, held-out loss in nats a token) of every evaluation; `loss`: the
        last; `dropped`: the share of tokens without an expert in training, over the
        second half; `stopped`: how it ended; `case`, `machine`. Times are in none:
        machines are busy in runs of hours; see `timing`.
    """
    found = known(finding, case, seed)
    if found is None:
        keras.backend.clear_session()
        model, found = case.train(seed)
        found = {"case": repr(case), "machine": machine(), **found}
        file = _file(finding, case, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        model.save_weights(file.with_suffix(".weights.h5"))
        file.write_text(json.dumps(found, indent=1) + "\n")
    return found


def known(finding, case, seed):
    """Returns the same if the run was made before, else `None`."""
    file = _file(finding, case, seed)
    if file.exists():
        found = json.loads(file.read_text())
        if found["case"] == repr(case):
            return found
    return None


def trained(finding, case, seed):
    """Returns the model of a run, which is made if it was not before."""
    result(finding, case, seed)
    model = case.fresh(seed)
    model.load_weights(_file(finding, case, seed).with_suffix(".weights.h5"))
    return model


def _file(finding, case, seed):
    return pathlib.Path(FOLDER, "paper", finding, f"{case.name}-{seed}.json")


def data(**changes):
    """Returns the `DataConfig` of the runs."""
    config = DataConfig("pydocs_lm", {"targets": LENGTH}, BATCH)
    return dataclasses.replace(config, **changes)


def train_data(seed, steps):
    """Returns the batches of a seed, the same for all cases; made once, then read."""
    name = f"{BATCH}x{LENGTH}-{seed}-{steps}"
    folder = pathlib.Path(FOLDER, "paper", "batches", name)
    if not folder.exists():
        made = batches(data(seed=seed), "decoder-only").take(steps)
        made.save(str(folder))
    import tensorflow as tf

    return tf.data.Dataset.load(str(folder)).prefetch(2)


def held_out():
    """Returns the batches of every evaluation."""
    found = batches(data().for_evaluation(), "decoder-only").take(HELD_OUT)
    return found.cache()
