import io
import json
import types

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_switch.partitioning.clients import ALONE
from keras_switch.training import logs
from keras_switch.training.records import History, Record

LAYER = {"load": [0.25, 0.75], "dropped": 0.1, "confidence": 0.6, "max_load": 1.5}


def run(step=0, steps=4):
    alone = {"clients": ALONE, "history": History()}
    return types.SimpleNamespace(step=step, steps=steps, **alone)


def record(step=2, split="train", **values):
    return Record(step, split, {"loss": 1.25, **values}, {"mlp": LAYER}, 3.5)


def test_off_a_terminal_a_record_is_a_readable_line_with_the_time_left():
    stream = io.StringIO()
    progress, at = logs.Progress(stream), run()
    progress.on_start(at)
    at.step = 2
    progress.on_step(at)
    progress.on_record(at, record(tokens_per_second=123.4))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("train step 2/4  loss 1.25  tokens_per_second 123.4")
    assert "ETA 0:00:0" in line


def test_on_a_terminal_a_bar_shows_live_metrics(monkeypatch, capsys):
    monkeypatch.setattr(logs, "_is_interactive", lambda: True)
    progress, at = logs.Progress(), run(step=1)
    progress.on_start(at)
    for at.step in (2, 3):
        progress.on_record(at, record(at.step, tokens_per_second=123.0))
        progress.on_record(at, record(at.step, "eval"))
        progress.on_step(at)
    progress.on_end(at)
    out = capsys.readouterr().out
    assert "Going on from step 1 of 4" in out
    assert "2/3" in out
    assert "loss: 1.25" in out
    assert "eval: 1.25" in out
    assert "tokens_per_second: 123.0" in out


def test_json_lines_give_records_back_and_hold_no_nan(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = logs.JsonLines(file)
    lines.on_start(run())
    written = [record(2), record(2, "eval", perplexity=float("nan"))]
    for each in written:
        lines.on_record(run(), each)
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    assert first["experts"]["mlp"]["load"] == [0.25, 0.75]
    assert second["values"]["perplexity"] is None
    read = logs.read_records(file)
    assert read[0] == written[0]
    assert np.isnan(read[1].values["perplexity"])


def test_a_run_from_the_start_begins_its_file_anew(tmp_path):
    file = tmp_path / "metrics.jsonl"
    for _ in range(2):
        lines = logs.JsonLines(file)
        lines.on_start(run())
        lines.on_record(run(), record())
    assert len(logs.read_records(file)) == 1


def test_tensorboard_holds_scalars_loads_and_their_picture(tmp_path):
    board = logs.TensorBoard(tmp_path)
    board.on_record(run(), record())
    board.on_record(run(), record(2, "eval"))
    board.on_end(run())
    events = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    tags = set(events.Reload().Tags()["tensors"])
    assert {"loss", "experts/mlp/dropped", "experts/mlp/load", "experts/load"} <= tags
    value = events.Tensors("loss")[0]
    assert value.step == 2
    assert float(tf.make_ndarray(value.tensor_proto)) == 1.25
    assert (tmp_path / "eval").is_dir()


def test_of_several_processes_the_first_writes_and_the_others_read(tmp_path):
    file = tmp_path / "metrics.jsonl"
    first, other = logs.JsonLines(file), logs.JsonLines(file)
    first.on_record(run(), record(2))
    at = run(step=3)
    at.clients = types.SimpleNamespace(is_first=False)
    other.on_start(at)
    other.on_record(at, record(4))
    assert [r.step for r in at.history.records] == [2]
    assert [r.step for r in logs.read_records(file)] == [2]
    assert logs.Progress.only_first and logs.TensorBoard.only_first
