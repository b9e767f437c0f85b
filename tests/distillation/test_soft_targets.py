import keras
import numpy as np
import pytest
from helpers_distillation import log_softmax

from keras_switch.distillation import SoftTargets
from keras_switch.distillation.soft_targets import IDS, LOGITS
from keras_switch.distillation.step import spread

B, T, V = 2, 3, 7
RNG = np.random.default_rng(0)
STUDENT = RNG.normal(size=(B, T, V)).astype("float32")
TEACHER = 2 * RNG.normal(size=(B, T, V)).astype("float32")


@pytest.mark.parametrize(
    ("temperature", "z_loss"), [(1.0, 0.0), (3.0, 0.0), (2.0, 0.1)]
)
def test_it_is_the_cross_entropy_of_softened_probabilities(temperature, z_loss):
    soft = SoftTargets(temperature=temperature)
    found = np.asarray(soft.losses(STUDENT, {LOGITS: TEACHER}, z_loss))
    logits = STUDENT.astype("float64") / temperature
    wanted = -np.sum(
        np.exp(log_softmax(TEACHER / temperature)) * log_softmax(logits), -1
    )
    wanted = wanted + z_loss * np.log(np.exp(logits).sum(-1)) ** 2
    np.testing.assert_allclose(found, temperature**2 * wanted, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_less_the_teachers_entropy_it_is_that_of_keras(temperature):
    # By its name, "kl_divergence", Keras 3.15 compares logits and not probabilities.
    theirs = keras.distillation.LogitsDistillation(
        temperature=temperature, loss=keras.losses.KLDivergence()
    )
    wanted = float(theirs.compute_loss(TEACHER, STUDENT))
    soft = SoftTargets(temperature=temperature)
    found = np.mean(soft.losses(STUDENT, {LOGITS: TEACHER}))
    logs = log_softmax(TEACHER / temperature)
    entropy = -np.mean(np.sum(np.exp(logs) * logs, -1))
    np.testing.assert_allclose(found - temperature**2 * entropy, wanted, rtol=1e-4)


def test_of_words_that_were_kept_all_are_the_whole_and_few_are_renormalised():
    soft = SoftTargets(temperature=2.0)
    whole = np.asarray(soft.losses(STUDENT, {LOGITS: TEACHER}))
    ids = np.argsort(-TEACHER, -1)
    told = {LOGITS: np.take_along_axis(TEACHER, ids, -1), IDS: ids.astype("int32")}
    np.testing.assert_allclose(soft.losses(STUDENT, told), whole, rtol=1e-5)
    few = {name: value[..., :3] for name, value in told.items()}
    probs = np.exp(log_softmax(few[LOGITS] / 2))
    logs = np.take_along_axis(log_softmax(STUDENT / 2), few[IDS], -1)
    wanted = -4 * np.sum(probs * logs, -1)
    np.testing.assert_allclose(soft.losses(STUDENT, few), wanted, rtol=1e-5)
    full = {LOGITS: spread(few, V)}  # as meshes take them
    np.testing.assert_allclose(soft.losses(STUDENT, full), wanted, rtol=1e-5)


def test_bad_shares_are_refused_together():
    with pytest.raises(ValueError, match=r"weight=1.5.*temperature=0.*start_step=-1"):
        SoftTargets(1.5, 0, -1)
    with pytest.raises(ValueError, match="without a teacher, use `train`"):
        SoftTargets(weight=0.0)
