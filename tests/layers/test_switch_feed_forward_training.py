"""The sparse feed-forward layer in training: losses, gradients, metrics, dtypes."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy, set_weights, step
from helpers_feed_forward import (
    FORMS,
    B,
    D,
    E,
    F,
    L,
    fitted,
    make,
    model_of,
    softmax,
)

from keras_switch.layers import SwitchFeedForward
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    FixedCapacity,
    InputJitter,
    Switch,
    TopK,
)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((B, L, D)).astype("float32")


def test_jitter_reaches_the_router_only(x):
    seen = {}

    class Spy(keras.layers.Layer):
        def call(self, rows, owner=None, training=False):
            seen["rows"] = rows
            return rows

    jitter = Switch(exploration=InputJitter(0.5), capacity=CapacityFactor(train=E))
    layer = SwitchFeedForward(E, F, routing=jitter, experts=Spy())
    layer(x, training=True)
    rows = numpy(seen["rows"]).reshape(-1, D)
    tokens = {row.tobytes() for row in rows if row.any()}
    assert tokens == {token.tobytes() for token in x.reshape(-1, D)}


@pytest.mark.parametrize("training", [True, False])
def test_the_router_sees_jitter_in_training_only(x, training):
    seen = {}

    class Spy(keras.layers.Layer):
        def call(self, x):
            seen["x"] = x
            return x[..., :2]

    jitter = Switch(exploration=InputJitter(0.5))
    layer = SwitchFeedForward(2, F, routing=jitter, router=Spy())
    layer(x, training=training)
    noise = numpy(seen["x"]) / x
    assert np.abs(noise - 1).max() <= 0.5 + 1e-5
    assert (noise.std() > 0.2) == training


def test_training_and_evaluation_have_capacities_of_their_own(x):
    rule = CapacityFactor(train=0.5, eval=E, minimum=1)
    tight = Switch(exploration=Argmax(), capacity=rule)
    layer = make(routing=tight, activation="linear")
    assert numpy(layer(x)).any(-1).all()
    kept = numpy(layer(x, training=True)).any(-1).sum(-1)
    assert (kept <= E * L * 0.5 / E).all()


def test_every_expert_that_got_tokens_gets_a_gradient(x):
    layer = make(routing=Switch(exploration=Argmax(), capacity=FixedCapacity(2)))
    layer.router.kernel.assign(np.eye(D)[:, [0, 1, 2, 2]] * [1, 1, 1, 0.5])
    got_tokens = np.unique(softmax(x @ numpy(layer.router.kernel.value)).argmax(-1))
    _, _, gradients = step(layer, x, x, training=True)
    for name in ("wi", "wo"):
        moved = np.abs(gradients[name]).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(np.flatnonzero(moved), got_tokens)
    assert np.abs(gradients["kernel"]).max() > 0


def test_losses_are_added_in_training_only_and_in_float32(x):
    layer = make(routing=TopK(2, z_loss_weight=1e-3), dtype="bfloat16")
    layer(x)
    assert layer.losses == []
    layer(x, training=True)
    assert len(layer.losses) == 1
    (loss,) = layer.losses
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) > 0


@pytest.mark.skipif(ON_JAX, reason="fit is for TensorFlow")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("form", FORMS[1:], ids=str)
def test_fit_shows_what_the_experts_do(x, form, jit_compile):
    layer = make(dispatch=form, name="moe", routing=Switch(capacity=FixedCapacity(2)))
    before = [w.numpy() for w in layer.trainable_weights]
    history = fitted(model_of(layer), x, jit_compile, validation_data=(x, x[..., :2]))
    for name in ("moe_dropped", "moe_confidence", "moe_max_load"):
        assert history[name] >= 0
        assert f"val_{name}" in history
    assert (history["moe_dropped"] > 0) == form.drops
    assert 1 <= history["moe_max_load"] <= E
    np.testing.assert_allclose(np.sum(layer.expert_load), 1, rtol=1e-5)
    for old, weight in zip(before, layer.trainable_weights, strict=True):
        assert not np.array_equal(old, weight.numpy())


@pytest.mark.skipif(ON_JAX, reason="fit is for TensorFlow")
def test_fit_minimises_the_balance_loss():
    # Nothing but the balance loss has a gradient: the experts' answers are all zero.
    layer = make(routing=Switch(exploration=Argmax(), balance_loss_weight=1.0))
    layer.experts.wo.assign(np.zeros(layer.experts.wo.shape))
    layer.experts.trainable = False
    x = np.random.default_rng(0).standard_normal((16, L, D))
    model = keras.Sequential([keras.Input((L, D)), layer])
    model.compile("sgd", "mse")
    start = layer.router.kernel.numpy()
    loss = model.fit(x, 0 * x, verbose=0).history["loss"][0]
    assert loss >= 0.9  # alpha * 1 when even
    assert not np.array_equal(layer.router.kernel.numpy(), start)


@pytest.mark.skipif(ON_JAX, reason="fit is for TensorFlow")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_it_trains_under_every_dtype_policy(x, policy):
    layer = SwitchFeedForward(E, F, dtype=policy)
    history = fitted(model_of(layer), x)
    assert np.isfinite(history["loss"])
    assert layer(x).dtype == layer.compute_dtype
    assert layer.router.kernel.dtype == "float32"
    assert layer.experts.wi.dtype == layer.variable_dtype


@pytest.mark.skipif(ON_JAX, reason="fit is for TensorFlow")
def test_mixed_float16_trains_with_loss_scaling(x):
    with_policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        model = model_of(SwitchFeedForward(E, F))
        fitted(model, x)
    finally:
        keras.config.set_dtype_policy(with_policy)
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"


def test_float16_is_refused():
    with pytest.raises(ValueError, match="mixed_bfloat16"):
        SwitchFeedForward(E, F, dtype="float16")


@pytest.mark.parity
@pytest.mark.parametrize("policy", ["bfloat16", "mixed_bfloat16"])
def test_tokens_choose_as_in_float32(policy):
    # Two experts whose logits differ by less than a bfloat16 can tell apart.
    exact = SwitchFeedForward(2, 3, routing=Switch(capacity=FixedCapacity(8)))
    rough = SwitchFeedForward(2, 3, routing=exact.routing, dtype=policy)
    for layer in (exact, rough):
        layer.build((1, 8, 1))
        ones = np.ones((2, 3, 1))
        ones[0] = -1  # the experts' answers differ in sign
        kernel = [[1.001, 1.0]]
        set_weights(layer, kernel=kernel, wi=np.ones((2, 1, 3)), wo=ones)
    x = np.full((1, 8, 1), 2.0, "float32")
    for layer in (exact, rough):
        y = numpy(keras.ops.cast(layer(x), "float32"))
        assert (y < 0).all()
        np.testing.assert_allclose(y, -3 * 2 * 0.5005, rtol=1e-2)
