import dataclasses

import numpy as np
import pytest
from helpers_distillation import DENSE, SPARSE, lm
from helpers_models import scatter, tiny

from keras_switch.distillation import NonExpertWeights
from keras_switch.distillation.students import spread


def copied(teacher_config, student_config, **options):
    teacher, student = lm(teacher_config, 1), lm(student_config, 2)
    scatter(teacher)
    before = {v.path: v.numpy() for v in student.weights}
    report = NonExpertWeights(**options).copy(teacher, student)
    return teacher, student, before, report


def test_a_dense_student_takes_all_but_experts_and_routers():
    teacher, student, before, report = copied(SPARSE, DENSE)
    given = {v.path: v.numpy() for v in teacher.weights}
    for variable in student.weights:
        wanted = given if variable.path in report.copied else before
        np.testing.assert_array_equal(variable.numpy(), wanted[variable.path])
    # Layer 1 of both stacks is sparse in the teacher.
    assert set(report.fresh) == {
        f"{stack}/block_1/mlp/{w}"
        for stack in ("encoder", "decoder")
        for w in ("wi", "wo")
    }
    assert len(report.unused) == 2 * 3
    assert all("experts" in p or "router" in p for p in report.unused)
    assert not report.reshaped
    assert "fresh: encoder/block_1/mlp/wi" in str(report)


def test_a_smaller_sparse_student_keeps_its_own_experts():
    small = tiny(sparse=dataclasses.replace(SPARSE.sparse, num_experts=2))
    *_, report = copied(SPARSE, small)
    assert all("experts" in p or "router" in p for p in report.fresh)
    assert len(report.fresh) == 6
    # Of the same shape they are no less experts.
    *_, report = copied(SPARSE, SPARSE)
    assert len(report.fresh) == 6


def test_a_shallower_student_takes_layers_that_are_evenly_spread():
    deep = tiny(sparse=None, num_layers=5)
    shallow = tiny(sparse=None, num_layers=3, num_decoder_layers=1)
    *_, report = copied(deep, shallow, decoder_layers=(4,))
    taken = report.copied["encoder/block_1/mixer/query"]
    assert taken == "encoder/block_2/mixer/query"
    taken = report.copied["decoder/block_0/mixer/query"]
    assert taken == "decoder/block_4/mixer/query"
    assert spread(3, 5) == (0, 2, 4)
    assert spread(4, 12) == (0, 4, 7, 11)
    assert spread(1, 6) == (0,)


def test_weights_of_another_shape_are_reported_and_no_fit_at_all_refused():
    *_, report = copied(SPARSE, tiny(sparse=None, d_ff=32))
    assert set(report.reshaped) == {
        f"{stack}/block_0/mlp/{w}"
        for stack in ("encoder", "decoder")
        for w in ("wi", "wo")
    }
    assert "other shape: encoder/block_0/mlp/wi" in str(report)
    with pytest.raises(ValueError, match=r"No weight of the teacher.*d_model"):
        copied(SPARSE, tiny(sparse=None, d_model=12, num_heads=2, d_kv=8))


def test_a_deeper_student_or_layers_that_are_not_there_are_refused():
    deep = tiny(sparse=None, num_layers=3)
    with pytest.raises(ValueError, match=r"student's encoder has 3 layers.*2"):
        copied(SPARSE, deep)
    with pytest.raises(ValueError, match=r"encoder_layers=\(0, 7\): give 2 numbers"):
        copied(SPARSE, DENSE, encoder_layers=(0, 7))
