import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf
from helpers_models import TINY_SPARSE, tiny

from benchmarks import report
from benchmarks.paper import (
    distillation,
    findings,
    plots,
    pretraining,
    runs,
    summary,
    timing,
)
from benchmarks.paper.__main__ import main
from keras_switch import training
from keras_switch.distillation import NonExpertWeights, SoftTargets, distill
from keras_switch.models import Every

SMALL = {"architecture": "decoder-only", "num_layers": 1}
EXPERTS = dataclasses.replace(TINY_SPARSE, placement=Every(1))
DENSE = tiny(sparse=None, **SMALL)
SPARSE = runs.Case("sparse", tiny(sparse=EXPERTS, **SMALL), steps=2)


def _batches(number):
    rng = np.random.default_rng(0)
    ids = rng.integers(1, DENSE.vocab_size, (number * 2, 8), "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    triple = (inputs, ids, np.ones(ids.shape, "float32"))
    return tf.data.Dataset.from_tensor_slices(triple).batch(2, drop_remainder=True)


def _loss(model):
    return pytest.approx(training.evaluate(model, _batches(1))["loss"], rel=1e-6)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Makes a run of two steps on numbers, in a folder of its own; returns it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "FOLDER", tmp_path_factory.mktemp("results"))
        patch.setattr(runs, "EVAL_EVERY", 1)
        patch.setattr(runs, "train_data", lambda seed, steps: _batches(steps))
        patch.setattr(runs, "held_out", lambda: _batches(1))
        yield runs.result("experts", SPARSE, 0)


def test_a_run_is_made_once_and_a_changed_case_anew(small):
    assert [step for step, _ in small["curve"]] == [1, 2]
    assert small["loss"] == small["curve"][-1][1]
    assert 0 <= small["dropped"] < 1
    again = runs.known("experts", SPARSE, 0)
    assert (again["loss"], again["case"]) == (small["loss"], repr(SPARSE))
    assert runs.known("experts", SPARSE, 1) is None
    assert runs.known("experts", dataclasses.replace(SPARSE, rate=0.5), 0) is None
    assert _loss(runs.trained("experts", SPARSE, 0)) == small["loss"]


def test_a_student_starts_from_its_teacher_and_learns_from_it(small):
    start, soft = NonExpertWeights(), SoftTargets(weight=1.0)
    case = distillation.Student("student", DENSE, steps=2, teacher=SPARSE)
    case = dataclasses.replace(case, initialize=start, soft_targets=soft)
    teacher, student = runs.trained("experts", SPARSE, 0), case.fresh(0)
    start.copy(teacher, student)
    distill(
        student,
        teacher,
        training.Adafactor(case.schedule()),
        training.TokenCrossEntropy(),
        _batches(2),
        soft_targets=soft,
        observers=[],
    )
    assert runs.result("distillation", case, 0)["loss"] == _loss(student)


@pytest.mark.parametrize("option, name", [("--known", "one"), ("--times", "one-times")])
def test_tables_are_written_of_what_is_known_and_of_times(
    small, tmp_path, monkeypatch, option, name
):
    other = dataclasses.replace(SPARSE, name="not run")
    finding = findings.Finding("One", lambda: [("experts", SPARSE)])
    known = dataclasses.replace(finding, runs=lambda: [*finding.runs(), ("x", other)])
    compared = {"one": known if option == "--known" else finding}
    monkeypatch.setattr(findings, "FINDINGS", compared)
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    monkeypatch.setattr(timing, "STEPS", 1)
    monkeypatch.setattr(timing, "ROUNDS", 1)
    main(["one", option])
    (table,) = json.loads((tmp_path / f"paper-{name}.json").read_text())[
        "tables"
    ].values()
    assert list(table) == ["sparse"]
    assert (tmp_path / "paper-one-curves.png").exists() == (option == "--known")


def _run(*curve, **more):
    return {"curve": [*curve], "loss": curve[-1][1], "dropped": None, **more}


BASE = {0: _run((10, 5.0), (20, 4.0)), 1: _run((10, 5.0), (20, 4.4))}
BETTER = {0: _run((10, 4.0), (20, 3.0)), 1: _run((10, 4.5), (20, 4.0))}


def test_losses_are_compared_seed_by_seed():
    _, rows, numbers = summary.losses({"base": BASE, "better": BETTER})
    better = numbers["better"]
    assert better["loss"] == pytest.approx(3.5)
    assert better["spread"] == pytest.approx(math.sqrt(0.5))
    assert better["to first"] == pytest.approx((-1.0 - 0.4) / 2)
    # 4.0 at step 10; 4.4 a fifth of the way from step 10 to step 20.
    assert better["steps fewer"] == pytest.approx((20 / 10 + 20 / 12) / 2)
    assert better["to first spread"] == pytest.approx(math.sqrt(0.18))
    assert rows[0][:5] == ["base", "4.200", "0.283", "+0.000", "0.000"]
    assert rows[0][5:] == ["1.00", "", "2"]


def test_a_loss_that_is_never_reached_and_a_run_that_diverged_are_told():
    lost = {0: _run((20, 4.5)), 1: {"curve": [], "loss": None}}
    _, rows, _ = summary.losses({"base": BASE, "lost": lost})
    assert rows[1] == ["lost", "4.500", "", "+0.500", "", "", "", "2, 1 diverged"]


def test_the_share_of_the_teachers_gain_is_the_mean_over_seeds():
    student = {0: _run((20, 3.5)), 1: _run((20, 4.3))}
    found = {"dense": BASE, "teacher": BETTER, "student": student}
    _, rows, numbers = summary.shares(found)
    assert numbers["student"]["kept"] == pytest.approx((0.5 + 0.25) / 2)
    assert [row[3] for row in rows] == ["0%", "100%", "38%"]


def _lines(figure):
    """Returns the points of every line that has a name, by name."""
    (axes,) = figure.axes
    return {
        line.get_label(): line.get_xydata().tolist()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_pictures_show_means_over_seeds():
    dense = runs.Case("dense", DENSE)
    one, *more = (pretraining.sparse_case(number) for number in (1, 4))
    assert _lines(plots.curves([(dense, BASE)])) == {
        "dense  4.200": [[10, 5.0], [20, pytest.approx(4.2)]]
    }
    over = _lines(plots.over_experts([(dense, BASE), (*more, BETTER), (one, BASE)]))
    assert over["sparse"] == [[1, pytest.approx(4.2)], [4, 3.5]]
    assert [y for _, y in over["dense"]] == [pytest.approx(4.2)] * 2


def test_a_picture_shows_drops_with_and_without_the_balance_loss():
    few, many, none = (_run((1, 4.0), dropped=share) for share in (0.1, 0.3, 0.0))
    _, half, *_, unbalanced = [case for _, case in pretraining.capacity()]
    found = _lines(plots.dropped([(half, {0: few, 1: many}), (unbalanced, {0: none})]))
    assert found["balance loss 0.01"] == [[0.75, pytest.approx(20.0)]]
    assert found["no balance loss"] == [[2.0, 0.0]]


def test_every_finding_compares_different_cases():
    for finding in findings.FINDINGS.values():
        cases = [case for _, case in finding.runs()]
        assert len({case.name for case in cases}) == len(cases)
        assert len({repr(case) for case in cases}) == len(cases)
