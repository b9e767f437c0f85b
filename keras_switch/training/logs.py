"""Where a run is told: progress bar, `metrics.jsonl`, TensorBoard."""

import dataclasses
import json
import math
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from keras_switch.training.observers import Observer
from keras_switch.training.paths import path_of
from keras_switch.training.records import Record

_SHOWN = ("loss", "cross_entropy", "accuracy", "dropped", "tokens_per_second")


class Progress(Observer):
    """A progress bar on a terminal or in a notebook, elsewhere a line per record.

    Args:
        stream: where lines go; standard output by default.
    """

    only_first = True

    def __init__(self, stream=None):
        self._stream = stream
        self._bar = None
        self._values = {}

    def on_start(self, run):
        self._start, self._began = run.step, time.monotonic()
        if run.step:
            self._print(f"Going on from step {run.step} of {run.steps or 'unknown'}.")
        if self._stream is None and _is_interactive():
            target = run.steps and run.steps - run.step
            self._bar = keras.utils.Progbar(target, stateful_metrics=[*_SHOWN, "eval"])

    def on_step(self, run):
        if self._bar is not None:
            self._bar.update(run.step - self._start, list(self._values.items()))

    def on_record(self, run, record):
        shown = {name: record.values[name] for name in _SHOWN if name in record.values}
        if record.split == "train":
            self._values |= shown
        else:
            self._values["eval"] = record.values["loss"]
        if self._bar is None:
            self._print(self._line(run, record))

    def on_end(self, run):
        if self._bar is not None and run.step > self._start:
            values = list(self._values.items())
            self._bar.update(run.step - self._start, values, finalize=True)

    def _line(self, run, record):
        values = {k: v for k, v in record.values.items() if k not in ("tokens",)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        total = f"/{run.steps}" if run.steps else ""
        return f"{record.split:5} step {record.step}{total}  {text}{self._left(run)}"

    def _left(self, run):
        """Returns the time that the run still needs, as far as one can tell."""
        made = run.step - self._start
        if not run.steps or not made:
            return ""
        seconds = (time.monotonic() - self._began) / made * (run.steps - run.step)
        minutes, seconds = divmod(round(seconds), 60)
        return f"  ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

    def _print(self, text):
        print(text, file=self._stream or sys.stdout, flush=True)


class JsonLines(Observer):
    """`metrics.jsonl`: one record a line, also across resumptions.

    Lines after the step that a run goes on from are removed, so that no step is told
    twice; the records before it become the beginning of the run's history. Of several
    processes all read it, and the first writes.

    Args:
        file: path.
    """

    def __init__(self, file):
        self.file = path_of(file)

    def on_start(self, run):
        records = [r for r in read_records(self.file) if r.step <= run.step]
        if not run.step:
            records = []
        run.history.records[:0] = records
        if not run.clients.is_first:
            return
        draft = self.file.with_suffix(".tmp")
        draft.write_text("".join(map(_line, records)))
        draft.replace(self.file)

    def on_record(self, run, record):
        if run.clients.is_first:
            with self.file.open("a") as file:
                file.write(_line(record))


class TensorBoard(Observer):
    """Scalars and the loads of experts, in the folders `train` and `eval`.

    Args:
        log_dir: folder, such as `<model_dir>/tensorboard`.
    """

    only_first = True

    def __init__(self, log_dir):
        self.log_dir = path_of(log_dir)
        self._writers = {}

    def on_record(self, run, record):
        if record.split not in self._writers:
            folder = str(self.log_dir / record.split)
            self._writers[record.split] = tf.summary.create_file_writer(folder)
        with self._writers[record.split].as_default(step=record.step):
            for name, value in record.values.items():
                tf.summary.scalar(name, value)
            write_experts(record.experts)
        self._writers[record.split].flush()

    def on_end(self, run):
        for writer in self._writers.values():
            writer.close()


def write_experts(use):
    """Writes what `experts.expert_use` gave as TensorBoard summaries.

    Scalars per layer, the distribution of its loads, and one picture of all loads: a
    row per layer, a column per expert, black for none, white for twice an even share.
    """
    for layer, values in use.items():
        for name, value in values.items():
            if name != "load":
                tf.summary.scalar(f"experts/{layer}/{name}", value)
        tf.summary.histogram(f"experts/{layer}/load", values["load"])
    loads = [np.asarray(values["load"]) for values in use.values()]
    if loads and len({len(load) for load in loads}) == 1:
        picture = np.clip(np.stack(loads) * len(loads[0]) / 2, 0, 1)
        picture = np.kron(picture, np.ones((8, 8)))[np.newaxis, :, :, np.newaxis]
        tf.summary.image("experts/load", picture)


def read_records(file):
    """Returns the records in a `metrics.jsonl`; a last line cut short is left out."""
    file = path_of(file)
    if not file.exists():
        return []
    lines = file.read_text().split("\n")
    return [_record(json.loads(line)) for line in lines[:-1] if line]


def _line(record):
    """Returns a record as a line; JSON knows no NaN, so that becomes null."""
    values = {k: v if math.isfinite(v) else None for k, v in record.values.items()}
    line = {**dataclasses.asdict(record), "values": values}
    return json.dumps({**line, "seconds": round(record.seconds, 3)}) + "\n"


def _record(line):
    values = {k: math.nan if v is None else v for k, v in line["values"].items()}
    return Record(**{**line, "values": values})


def _is_interactive():
    return sys.stdout.isatty() or "ipykernel" in sys.modules
