"""The demo's report on runs written by hand, and its picture."""

import json

import pytest

from keras_switch.cli import demo_plot, demo_report
from keras_switch.data import DataConfig
from keras_switch.models import ModelConfig, Sparse
from keras_switch.training.records import History, Record

SIZES = {
    "vocab_size": 128,
    "d_model": 8,
    "d_ff": 16,
    "d_kv": 4,
    "num_heads": 2,
    "num_layers": 2,
}
DENSE = ModelConfig(**SIZES)
SPARSE = ModelConfig(sparse=Sparse(num_experts=4), **SIZES)
DATA = DataConfig("any", {"inputs": 12, "targets": 4}, batch_size=10)
LAYERS = ("decoder/block_1/decoder_1", "encoder/block_1/encoder_1")


def history(losses, experts=()):
    """Returns a run of ten steps a log; 80 target tokens and half a second a step."""
    records = []
    for number, loss in enumerate(losses, 1):
        load = [0.1 * number, 0.4, 0.3, 0.3 - 0.1 * number]
        use = {layer: {"load": load, "dropped": 0.1} for layer in experts}
        train = {"cross_entropy": loss + 0.1, "tokens": 800.0}
        if number > 1:  # the first log of a run has no time
            train["tokens_per_second"] = 160.0
        values = {"loss": loss, "perplexity": 2.0, "accuracy": 0.25, "tokens": 9.0}
        if experts:
            train["dropped"] = values["dropped"] = 0.1
        records.append(Record(10 * number, "train", train, use))
        records.append(Record(10 * number, "eval", values, use))
    return History(records, step=10 * len(losses))


@pytest.fixture(scope="module")
def results():
    configs = {"t5_tiny": DENSE, "switch_tiny": SPARSE}
    histories = {
        "t5_tiny": history([6.0, 5.0, 4.5]),
        "switch_tiny": history([5.5, 4.75, 4.25], LAYERS),
    }
    return demo_report.results(configs, histories, DATA)


def test_the_margin_is_that_of_the_last_held_out_losses(results):
    assert results["margin"] == pytest.approx(0.25)
    # From 4.75 at step 20 to 4.25 at step 30: 4.5 lies half-way.
    assert results["steps_to_dense_loss"] == 25


def test_speed_counts_all_positions_of_the_steps_that_were_timed(results):
    dense = results["models"]["t5_tiny"]
    assert dense["seconds_per_step"] == pytest.approx(0.5)  # 80 tokens at 160 a second
    assert dense["tokens_per_second"] == pytest.approx(10 * (12 + 4) / 0.5)


def test_an_idle_expert_is_no_active_parameter(results):
    dense, sparse = results["models"].values()
    router, expert = 8 * 4, 2 * 8 * 16
    assert dense["parameters"] == dense["active_parameters"]
    assert sparse["active_parameters"] == dense["parameters"] + 2 * router
    assert sparse["parameters"] == sparse["active_parameters"] + 2 * 3 * expert


def test_the_table_says_who_won_by_how_much_and_how_early(results):
    text = demo_report.text(results)
    assert "held-out loss           4.500         4.250" in text
    assert "switch_tiny is 0.250 nats a token better" in text
    assert "after 25 of 30 steps" in text
    assert text.index("encoder 1") < text.index("decoder 1")
    assert "30%" in text


def test_a_sparse_model_that_lost_is_said_to_have_lost(results):
    lost = results | {"margin": -0.1, "steps_to_dense_loss": None}
    assert "did not beat" in demo_report.text(lost)


@pytest.mark.parametrize(
    ("curve", "loss", "steps"),
    [
        ([(10, 4.0), (20, 3.0)], 4.0, 10),
        ([(10, 4.0), (20, 3.0)], 3.5, 15),
        ([(10, 4.0), (20, 3.0)], 2.0, None),
    ],
)
def test_the_step_of_a_loss_is_read_off_the_curve(curve, loss, steps):
    assert demo_report.steps_until(curve, loss) == steps


def test_results_and_picture_are_written(results, tmp_path):
    (file,) = demo_report.write(results, tmp_path)
    assert json.loads(file.read_text())["margin"] == results["margin"]
    pytest.importorskip("matplotlib")
    (picture,) = demo_plot.draw(results, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_there_is_a_hint_and_no_picture(
    results, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert demo_plot.draw(results, tmp_path) == []
    assert "keras-switch[plot]" in capsys.readouterr().out
