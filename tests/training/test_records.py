import helpers_training as h
import pytest

from keras_switch.training import experts
from keras_switch.training.records import History, Record, average


def test_means_are_weighted_by_tokens_and_other_values_are_not():
    steps = [
        {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 0.1, "tokens": 1.0},
        {"loss": 4.0, "grad_norm": 3.0, "learning_rate": 0.2, "tokens": 3.0},
    ]
    expected = {"loss": 3.25, "grad_norm": 2.0, "learning_rate": 0.2, "tokens": 4.0}
    assert average(steps) == pytest.approx(expected)


def test_a_step_of_padding_alone_does_not_spoil_the_mean():
    steps = [
        {"loss": float("nan"), "tokens": 0.0},
        {"loss": 2.0, "tokens": 2.0},
    ]
    assert average(steps)["loss"] == 2.0
    assert average([{"loss": 0.0, "tokens": 0.0}])["loss"] == 0.0


def test_a_history_gives_curves_and_last_values_by_split():
    history = History(
        [
            Record(1, "train", {"loss": 3.0}),
            Record(1, "eval", {"loss": 2.5}),
            Record(2, "train", {"loss": 2.0}),
        ]
    )
    assert history.curve("loss") == ([1, 2], [3.0, 2.0])
    assert history.last("eval") == {"loss": 2.5}
    assert History().last() == {}


def test_experts_of_a_whole_model_are_told_and_forgotten():
    model = h.sparse_model(layers=2)
    model(h.batch()[0], training=True)
    use = experts.expert_use(model)
    assert len(use) == 2
    summary = experts.expert_summary(use)
    assert summary["max_load"] == max(layer["max_load"] for layer in use.values())
    mean = sum(layer["dropped"] for layer in use.values()) / 2
    assert summary["dropped"] == pytest.approx(mean)
    experts.reset_experts(model)
    assert {sum(layer["load"]) for layer in experts.expert_use(model).values()} == {0}
    assert experts.expert_summary({}) == {}
