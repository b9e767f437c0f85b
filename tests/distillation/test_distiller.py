import keras
import numpy as np
import pytest
from helpers_distillation import batch, dataset, student, teacher
from helpers_mesh import RULES
from helpers_mesh import batch as lm_batch
from helpers_mesh import model as lm
from helpers_partitioning import on_devices

from keras_switch import training
from keras_switch.distillation import Distiller, DistillStep, SoftTargets


def compiled(model, who, **options):
    distiller = Distiller(model, who, **options)
    distiller.compile(
        keras.optimizers.SGD(0.1),
        training.TokenCrossEntropy(z_loss=1e-2),
        jit_compile=False,
    )
    return distiller


def test_fit_makes_the_steps_of_a_distill_step():
    soft = SoftTargets(temperature=2.0, start_step=1)
    students, who = (student(), student()), student(1)
    distiller = compiled(students[0], who, soft_targets=soft)
    optimizer, loss = keras.optimizers.SGD(0.1), training.TokenCrossEntropy(1e-2)
    step = DistillStep(students[1], optimizer, loss, who, soft)
    data = dataset(2, repeat=False, shuffle=False)
    for one in [*data]:
        step(one)
    data = dataset(2, repeat=False, shuffle=False)
    distiller.fit(data, verbose=0)
    for one, other in zip(*(s.weights for s in students), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_its_weights_and_its_evaluation_are_the_students():
    who, model = teacher(), student()
    distiller = compiled(model, who)
    assert [v.path for v in distiller.weights] == [v.path for v in model.weights]
    assert len(distiller.trainable_variables) == len(model.trainable_variables)
    before = who.get_weights()
    distiller.train_on_batch(*batch())
    for one, other in zip(before, who.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    model.compile("sgd", training.TokenCrossEntropy(1e-2), jit_compile=False)
    wanted, found = model.test_on_batch(*batch()), distiller.test_on_batch(*batch())
    assert np.ravel(found)[0] == pytest.approx(np.ravel(wanted)[0], rel=1e-5)


def test_without_a_teacher_or_logits_it_says_so():
    with pytest.raises(ValueError, match="no teacher, and its inputs bring no logits"):
        compiled(student(), None).train_on_batch(*batch())


@pytest.mark.slow
@on_devices
def test_on_a_mesh_it_trains_as_on_one_device():
    from keras_switch.partitioning import Mesh

    data = lm_batch("decoder-only")
    who, model = lm("decoder-only", "gather"), lm("decoder-only", "dense")
    mesh = Mesh("data:4,model:2", RULES["data:4,model:2"])
    with mesh:
        there = lm("decoder-only", "gather"), lm("decoder-only", "dense")
        spread = compiled(there[1], there[0])
    for one, other in zip((who, model), there, strict=True):
        other.set_weights(one.get_weights())
    alone = compiled(model, who)
    wanted = alone.train_on_batch(*data, return_dict=True)
    found = spread.train_on_batch(*data, return_dict=True)
    assert found["loss"] == pytest.approx(wanted["loss"], abs=1e-5)
    for one, other in zip(alone.weights, spread.weights, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="not on the same mesh"):
        Distiller(there[1], who)
