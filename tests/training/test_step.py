import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_switch.layers import SwitchFeedForward
from keras_switch.routing import Argmax, Switch
from keras_switch.training.adafactor import Adafactor
from keras_switch.training.auxiliary import (
    mean_over_layers,
    sum_over_layers,
    total_loss,
)
from keras_switch.training.losses import TokenCrossEntropy
from keras_switch.training.step import TrainStep

V, D, L = 7, 4, 3


def dense_model(dtype=None):
    ids = keras.Input((L,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(V, D, dtype=dtype)(ids)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(V, dtype=dtype)(x))


def sparse_model(layers=2):
    ids = keras.Input((L,), dtype="int32", name="token_ids")
    x = keras.layers.Embedding(V, D)(ids)
    for _ in range(layers):
        x = x + SwitchFeedForward(2, 8)(x)
    return keras.Model({"token_ids": ids}, keras.layers.Dense(V)(x))


def batch(size=4, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, V, (size, L)).astype("int32")
    weights = (rng.uniform(size=(size, L)) < 0.7).astype("float32")
    return {"token_ids": ids}, rng.integers(0, V, (size, L)).astype("int32"), weights


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_one_step_is_what_numpy_says():
    model = dense_model()
    table, kernel, bias = (w.numpy().astype("float64") for w in model.weights)
    step = TrainStep(
        model,
        keras.optimizers.SGD(0.5),
        TokenCrossEntropy(z_loss=0.1),
        max_grad_norm=0.2,
    )
    inputs, targets, weights = batch()
    metrics = {name: float(v) for name, v in step(batch()).items()}

    x = table[inputs["token_ids"]]  # (B, L, D)
    logits = x @ kernel + bias
    log_z = np.log(np.exp(logits).sum(-1))
    one_hot = np.eye(V)[targets]
    loss = log_z - (logits * one_hot).sum(-1)
    z = 0.1 * log_z**2
    tokens = weights.sum()
    d_logits = softmax(logits) * (1 + 0.2 * log_z[..., None]) - one_hot
    d_logits *= weights[..., None] / tokens
    d_table = np.zeros_like(table)
    np.add.at(d_table, inputs["token_ids"], d_logits @ kernel.T)
    d_kernel = np.einsum("bld,blv->dv", x, d_logits)
    gradients = [d_table, d_kernel, d_logits.sum((0, 1))]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    right = (logits.argmax(-1) == targets) * weights

    assert norm > 0.2
    expected = {
        "loss": ((loss + z) * weights).sum() / tokens,
        "cross_entropy": (loss * weights).sum() / tokens,
        "z_loss": (z * weights).sum() / tokens,
        "accuracy": right.sum() / tokens,
        "aux_loss": 0.0,
        "grad_norm": norm,
        "learning_rate": 0.5,
        "tokens": tokens,
    }
    assert metrics == pytest.approx(expected, rel=1e-5)
    for weight, old, g in zip(
        model.weights, (table, kernel, bias), gradients, strict=True
    ):
        np.testing.assert_allclose(weight, old - 0.5 * g * 0.2 / norm, atol=1e-6)


@pytest.mark.parametrize(
    "reduction", ["mean_with_sample_weight", "sum_over_batch_size", "sum"]
)
def test_micro_batches_give_the_step_of_the_whole_batch(reduction):
    whole, parts = dense_model(), dense_model()
    parts.set_weights(whole.get_weights())
    results = []
    for model, microbatches in ((whole, 1), (parts, 3)):
        optimizer = keras.optimizers.SGD(0.1)
        loss = TokenCrossEntropy(1e-2, 0.1, reduction=reduction)
        step = TrainStep(model, optimizer, loss, microbatches, max_grad_norm=0.5)
        results.append({k: float(v) for k, v in step(batch(6)).items()})
    assert results[0] == pytest.approx(results[1], rel=1e-5)
    for one, other in zip(whole.weights, parts.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_losses_of_layers_are_averaged_over_micro_batches():
    model = sparse_model()
    layers = [x for x in model.layers if isinstance(x, SwitchFeedForward)]
    for layer in layers:
        layer.routing = Switch(exploration=Argmax())
    expected = []
    inputs, targets, weights = batch(4)
    for half in (slice(0, 2), slice(2, 4)):
        model({"token_ids": inputs["token_ids"][half]}, training=True)
        expected.append(float(sum_over_layers(model)))
    step = TrainStep(model, keras.optimizers.SGD(0.0), TokenCrossEntropy(), 2)
    metrics = step((inputs, targets, weights))
    np.testing.assert_allclose(metrics["aux_loss"], np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_auxiliary_losses_are_a_sum_or_a_mean_over_sparse_layers(layers):
    model = sparse_model(layers)
    model(batch()[0], training=True)
    each = [float(loss) for loss in model.losses]
    assert len(each) == layers
    np.testing.assert_allclose(sum_over_layers(model), sum(each), rtol=1e-6)
    np.testing.assert_allclose(mean_over_layers(model), np.mean(each), rtol=1e-6)
    np.testing.assert_allclose(total_loss(model, 2.0), 2 + sum(each), rtol=1e-6)


def test_the_mean_leaves_other_losses_whole():
    model = sparse_model()
    dense = next(x for x in model.layers if isinstance(x, keras.layers.Dense))
    dense.kernel.regularizer = lambda kernel: tf.reduce_sum(kernel * 0) + 5.0
    model(batch()[0], training=True)
    of_layers = float(sum_over_layers(model)) - 5.0
    np.testing.assert_allclose(mean_over_layers(model), of_layers / 2 + 5, rtol=1e-6)


def test_total_loss_warns_when_a_sparse_models_losses_went_missing():
    model = sparse_model()
    model(batch()[0], training=False)
    with pytest.warns(UserWarning, match="2 sparse layers but no auxiliary losses"):
        total_loss(model, 1.0)


def test_every_expert_that_got_tokens_moves():
    model = sparse_model(layers=1)
    (layer,) = (x for x in model.layers if isinstance(x, SwitchFeedForward))
    before = [w.numpy() for w in layer.trainable_weights]
    TrainStep(model, Adafactor(0.1), TokenCrossEntropy())(batch(16))
    load = np.asarray(layer.expert_load)
    for weight, old in zip(layer.trainable_weights, before, strict=True):
        moved = np.abs(weight.numpy() - old)
        if len(weight.shape) == 3:
            assert ((moved.sum((1, 2)) > 0) == (load > 0)).all()
        else:
            assert moved.sum() > 0


def test_it_is_traced_once_for_batches_of_one_shape():
    step = TrainStep(sparse_model(), Adafactor(0.1), TokenCrossEntropy())
    for seed in range(3):
        step(batch(seed=seed))
    assert step._run.experimental_get_tracing_count() == 1


def test_xla_makes_the_same_step():
    plain, compiled = dense_model(), dense_model()
    compiled.set_weights(plain.get_weights())
    for model, jit_compile in ((plain, False), (compiled, True)):
        step = TrainStep(
            model, Adafactor(0.1), TokenCrossEntropy(), 2, jit_compile=jit_compile
        )
        step(batch())
    for one, other in zip(plain.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_under_mixed_float16_the_loss_is_scaled_and_the_norm_is_not():
    half, full = dense_model("mixed_float16"), dense_model()
    half.dtype_policy = "mixed_float16"
    half.set_weights(full.get_weights())
    norms = []
    for model in (half, full):
        step = TrainStep(
            model, keras.optimizers.SGD(0.1), TokenCrossEntropy(), max_grad_norm=0.1
        )
        norms.append(float(step(batch())["grad_norm"]))
        scaled = isinstance(step.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (model is half)
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-2)
    for one, other in zip(half.weights, full.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_low_precision_models_train_with_float32_metrics(dtype):
    step = TrainStep(dense_model(dtype), Adafactor(0.1), TokenCrossEntropy(), 2)
    losses = [float(step(batch())["cross_entropy"]) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert {v.dtype for v in step(batch()).values()} == {tf.float32}


def test_any_keras_loss_with_a_value_per_target_will_do():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    step = TrainStep(model, keras.optimizers.SGD(0.1), keras.losses.MeanSquaredError())
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    expected = float(np.mean(model.predict(x, verbose=0) ** 2))
    np.testing.assert_allclose(step((x, y))["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (
            lambda: TrainStep(keras.Sequential([keras.layers.Dense(1)]), None, None),
            "no weights",
        ),
        (lambda: TrainStep(dense_model(), None, None, microbatches=0), "at least 1"),
        (lambda: TrainStep(dense_model(), None, None, max_grad_norm=0.0), "positive"),
        (lambda: step_of(3)(batch(4)), "cannot be split into 3"),
        (lambda: step_of(1)((batch()[0],)), r"must be \(inputs, targets\)"),
    ],
)
def test_says_what_it_needs(make, error):
    with pytest.raises(ValueError, match=error):
        make()


def step_of(microbatches):
    return TrainStep(dense_model(), Adafactor(), TokenCrossEntropy(), microbatches)
