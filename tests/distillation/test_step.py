import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers_distillation import (
    V,
    batch,
    dataset,
    log_softmax,
    scored,
    student,
    teacher,
)
from helpers_mesh import RULES
from helpers_mesh import batch as lm_batch
from helpers_mesh import model as lm
from helpers_partitioning import on_devices

from keras_switch import distillation, training
from keras_switch.distillation import DistillStep, SoftTargets


def sgd():
    return keras.optimizers.SGD(0.1)


def step_of(model, who, optimizer=None, **options):
    loss = training.TokenCrossEntropy()
    return DistillStep(model, optimizer or sgd(), loss, who, **options)


def numbers(metrics):
    return {name: float(value) for name, value in metrics.items()}


def test_the_mixture_is_three_quarters_hard_and_one_soft():
    # A student with experts, so that losses of layers are there. Equal seeds: the same
    # jitter of the routers' inputs.
    plain = training.TrainStep(teacher(2), sgd(), training.TokenCrossEntropy())
    hard, found = (
        numbers(plain(batch())),
        numbers(step_of(teacher(2), teacher())(batch())),
    )
    for name in ("cross_entropy", "accuracy", "tokens"):
        assert found[name] == pytest.approx(hard[name], rel=1e-5)
    assert hard["aux_loss"] > 0
    assert found["aux_loss"] == pytest.approx(0.75 * hard["aux_loss"], rel=1e-4)
    wanted = 0.75 * hard["loss"] + 0.25 * found["soft_loss"]
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)


def test_the_soft_loss_is_that_of_numpy_over_real_tokens_and_the_teacher_stays():
    who, model = student(1), student()
    inputs, targets, weights = batch()
    before = who.get_weights(), model.get_weights()
    ours, theirs = (np.asarray(m(inputs)) / 2 for m in (model, who))
    soft = SoftTargets(weight=0.6, temperature=2.0)
    found = step_of(model, who, soft_targets=soft)((inputs, targets, weights))
    losses = -4 * np.sum(np.exp(log_softmax(theirs)) * log_softmax(ours), -1)
    wanted = np.sum(losses * weights) / weights.sum()
    assert float(found["soft_loss"]) == pytest.approx(wanted, rel=1e-5)
    for made, values, still in zip((who, model), before, (1, 0), strict=True):
        for one, other in zip(made.get_weights(), values, strict=True):
            assert np.array_equal(one, other) == still


def test_a_gradient_is_that_of_the_mixture():
    # Against a tape over Keras's own functions.
    who, model = student(1), student()
    inputs, targets, weights = batch()
    probs = tf.nn.softmax(who(inputs))
    with tf.GradientTape() as tape:
        logits = model(inputs, training=True)
        hard = keras.losses.sparse_categorical_crossentropy(targets, logits, True)
        soft = keras.losses.categorical_crossentropy(probs, logits, True)
        loss = tf.reduce_sum((0.75 * hard + 0.25 * soft) * weights) / weights.sum()
    values = [v.value for v in model.trainable_weights]
    gradients = tape.gradient(loss, values)
    wanted = [
        v.numpy() - 0.1 * tf.convert_to_tensor(g)
        for v, g in zip(values, gradients, strict=True)
    ]
    step_of(model, who)((inputs, targets, weights))
    for variable, value in zip(model.trainable_weights, wanted, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, atol=1e-5)


def test_the_teacher_is_asked_from_its_step_on_and_not_before():
    asked = []

    def who(inputs):
        asked.append(1)
        return tf.zeros((4, 3, V))

    step = step_of(student(), who, soft_targets=SoftTargets(start_step=2))
    plain = training.TrainStep(student(), sgd(), training.TokenCrossEntropy())
    for number in range(4):
        found = numbers(step(batch(seed=number)))
        assert len(asked) == max(0, number - 1)
        if number < 2:
            assert found["loss"] == numbers(plain(batch(seed=number)))["loss"]
            assert found["soft_loss"] == 0
    assert found["soft_loss"] > 0


def test_microbatches_give_the_step_of_the_whole_batch():
    models = student(), student()
    for model, parts in zip(models, (1, 2), strict=True):
        metrics = step_of(model, student(1), microbatches=parts)(batch())
    assert float(metrics["soft_loss"]) > 0
    for one, two in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-6)


def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path):
    def run(steps, folder):
        model = student(dropout=0.3)
        history = distillation.distill(
            model,
            student(1),
            training.Adafactor(1e-2, beta_1=0.9),
            training.TokenCrossEntropy(),
            dataset(),
            soft_targets=SoftTargets(start_step=1),
            eval_data=dataset(1, repeat=False),
            steps=steps,
            model_dir=folder,
            observers=[],
        )
        assert history.last("eval")["loss"] > 0
        return model.get_weights()

    straight = run(4, None)
    run(2, tmp_path)
    for one, other in zip(straight, run(4, tmp_path), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_vocabulary_is_refused_before_the_first_step():
    model = student()
    with pytest.raises(ValueError, match=r"teacher scores 9 words.*student 7"):
        step_of(model, scored(9))
    step = step_of(model, lambda inputs: tf.zeros((4, 3, 50)))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"scores 50 words.*same vocabulary"):
        step(batch())
    step = step_of(model, lambda inputs: tf.zeros((4, 6, V)))
    with pytest.raises(ValueError, match=r"\(4, 6, 7\) for targets of shape \(4, 3\)"):
        step(batch())
    with pytest.raises(ValueError, match="There is no teacher"):
        step_of(model, None)(batch())
    with pytest.raises(ValueError, match="is no teacher: give a Keras model"):
        step_of(model, 3)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@on_devices
def test_teacher_and_student_may_lie_on_different_meshes():
    from keras_switch.partitioning import Mesh

    wide = Mesh("data:2,expert:4", "batch:data,experts:expert")
    narrow = Mesh("data:4,model:2", RULES["data:4,model:2"])
    places = (None, None), (wide, narrow), (None, narrow), (narrow, narrow)
    results = []
    for meshes in places:
        made = []
        for mesh, how in zip(meshes, ("gather", "dense"), strict=True):
            alone = lm("decoder-only", how)
            if mesh is not None:
                values = alone.get_weights()
                with mesh:
                    alone = lm("decoder-only", how)
                alone.set_weights(values)
            made.append(alone)
        who, model = made
        loss = float(step_of(model, who)(lm_batch("decoder-only"))["loss"])
        results.append((loss, [v.numpy() for v in model.weights]))
    for loss, weights in results[1:]:
        assert loss == pytest.approx(results[0][0], abs=1e-5)
        for found, wanted in zip(weights, results[0][1], strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
