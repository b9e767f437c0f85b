import dataclasses
import math
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from helpers_models import TINY_SPARSE, tiny

from benchmarks import report
from benchmarks.paper import distillation, findings, runs, summary
from keras_switch import training
from keras_switch.distillation import NonExpertWeights, SoftTargets

LM = {"architecture": "decoder-only"}
DENSE = runs.Case("dense", tiny(sparse=None, **LM), steps=2)
SPARSE = runs.Case("sparse", tiny(sparse=TINY_SPARSE, **LM), steps=2)


def _batches(number):
    rng = np.random.default_rng(0)
    ids = rng.integers(1, DENSE.model.vocab_size, (number * 2, 8), "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    triple = (inputs, ids, np.ones(ids.shape, "float32"))
    return tf.data.Dataset.from_tensor_slices(triple).batch(2, drop_remainder=True)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Runs of two steps on numbers, in a folder of their own."""
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    monkeypatch.setattr(runs, "train_data", lambda seed, steps: _batches(steps))
    monkeypatch.setattr(runs, "held_out", lambda: _batches(1))
    return tmp_path


def test_a_run_is_made_once_and_a_changed_case_anew(small):
    found = runs.result("experts", SPARSE, 0)
    assert [step for step, _ in found["curve"]] == [1, 2]
    assert found["loss"] == found["curve"][-1][1]
    assert 0 <= found["dropped"] < 1
    again = runs.known("experts", SPARSE, 0)
    assert again["loss"] == found["loss"]
    assert runs.known("experts", SPARSE, 1) is None
    assert runs.known("experts", dataclasses.replace(SPARSE, rate=0.5), 0) is None
    model = runs.trained("experts", SPARSE, 0)
    loss = training.evaluate(model, _batches(1))["loss"]
    assert loss == pytest.approx(found["loss"], rel=1e-6)


def test_a_student_starts_from_its_teacher_and_listens(small):
    silent = distillation.Student("a", DENSE.model, steps=2, teacher=SPARSE)
    init = dataclasses.replace(silent, name="b", initialize=NonExpertWeights())
    soft = dataclasses.replace(init, name="c", soft_targets=SoftTargets())
    losses = [runs.result("d", case, 0)["loss"] for case in (silent, init, soft)]
    assert losses[0] == runs.result("experts", DENSE, 0)["loss"]
    assert len(set(losses)) == 3
    assert pathlib.Path(small, "paper", "experts", "sparse-0.json").exists()


def _run(*curve, **more):
    return {"curve": curve, "loss": curve[-1][1], "dropped": None, **more}


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
    assert rows[0] == ["base", "4.200", "0.283", "+0.000", "1.00", "", "2"]


def test_a_loss_that_is_never_reached_and_a_run_that_diverged_are_told():
    lost = {0: _run((20, 4.5)), 1: {"curve": [], "loss": None}}
    _, rows, _ = summary.losses({"base": BASE, "lost": lost})
    assert rows[1] == ["lost", "4.500", "", "+0.500", "", "", "2, 1 diverged"]


def test_the_share_of_the_teachers_gain_is_the_mean_over_seeds():
    student = {0: _run((20, 3.5)), 1: _run((20, 4.3))}
    found = {"dense": BASE, "teacher": BETTER, "student": student}
    _, rows, numbers = summary.shares(found)
    assert numbers["student"]["kept"] == pytest.approx((0.5 + 0.25) / 2)
    assert [row[3] for row in rows] == ["0%", "100%", "38%"]


def test_every_finding_compares_different_cases():
    for finding in findings.FINDINGS.values():
        cases = [case for _, case in finding.runs()]
        assert len({case.name for case in cases}) == len(cases)
        assert len({repr(case) for case in cases}) == len(cases)
