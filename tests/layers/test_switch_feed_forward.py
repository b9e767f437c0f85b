"""The sparse feed-forward layer."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy, set_weights, step

from keras_switch.dispatch import (
    DroplessDispatch,
    EinsumDispatch,
    FixedGroups,
    GatherDispatch,
)
from keras_switch.layers import GatedExperts, SwitchFeedForward
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    FixedCapacity,
    Hash,
    InputJitter,
    Switch,
    TopK,
    Uniform,
)

B, L, D, E, F = 3, 8, 4, 4, 6
FORMS = [EinsumDispatch(), GatherDispatch(), DroplessDispatch()]


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((B, L, D)).astype("float32")


@pytest.fixture
def mask():
    mask = np.ones((B, L), bool)
    mask[0, 5:] = mask[2, 3:] = False
    return mask


def make(seed=0, **kwargs):
    """Returns a layer whose router has opinions, built."""
    layer = SwitchFeedForward(**{"num_experts": E, "d_ff": F, **kwargs})
    layer.build((None, L, D))
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        weight.assign(rng.standard_normal(weight.shape))
    return layer


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def token_by_token(layer, x, mask, capacity):
    """Returns what a Switch layer gives: each sequence's tokens served in turn."""
    weights = {w.name: numpy(w.value) for w in layer.weights}
    y = np.zeros_like(x)
    for b in range(x.shape[0]):
        served = [0] * E
        for i in range(x.shape[1]):
            p = softmax(x[b, i] @ weights["kernel"])
            e = int(p.argmax())
            if (mask is None or mask[b, i]) and served[e] < capacity:
                hidden = np.maximum(x[b, i] @ weights["wi"][e], 0)
                y[b, i] = p[e] * (hidden @ weights["wo"][e])
                served[e] += 1
    return y


@pytest.mark.parity
@pytest.mark.parametrize("form", FORMS[:2], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_it_serves_tokens_in_order_until_experts_are_full(x, mask, masked, form):
    layer = make(dispatch=form, routing=Switch(capacity=FixedCapacity(2)))
    mask = mask if masked else None
    expected = token_by_token(layer, x, mask, capacity=2)
    assert not expected.any(-1).all()  # some tokens are dropped
    y = numpy(layer(x, mask=mask))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_array_equal(y.any(-1), expected.any(-1))  # exactly zero


@pytest.mark.parity
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_one_expert_with_gate_one_is_the_dense_layer(x, form):
    capacity = CapacityFactor(train=1, eval=1)
    layer = make(num_experts=1, dispatch=form, routing=Switch(capacity=capacity))
    wi, wo = (numpy(w.value)[0] for w in layer.experts.weights)
    np.testing.assert_allclose(layer(x), np.maximum(x @ wi, 0) @ wo, atol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_padding_changes_no_real_token_and_no_loss(x, mask, form):
    layer = make(dispatch=form, routing=TopK(2, z_loss_weight=1e-2))
    other = np.where(mask[..., None], x, 100 * x[::-1])
    y, loss, gradients = step(layer, x, x, mask=mask, training=True)
    cotangent = np.where(mask[..., None], x, 0)
    expected = step(layer, other, cotangent, mask=mask, training=True)
    np.testing.assert_allclose(y[mask], expected[0][mask], atol=1e-6)
    np.testing.assert_array_equal(y[~mask], 0)
    assert loss == pytest.approx(expected[1])
    for name in ("kernel", "wi", "wo"):
        np.testing.assert_allclose(gradients[name], expected[2][name], atol=1e-5)


def test_other_sequences_change_nothing(x):
    layer = make(routing=Switch(capacity=FixedCapacity(2)))
    np.testing.assert_allclose(layer(x)[:1], layer(x[:1]), atol=1e-6)


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


def test_evaluation_can_drop_nothing(x):
    tight = Switch(exploration=Argmax(), capacity=FixedCapacity(1))
    layer = make(routing=tight, activation="linear", eval_dispatch=DroplessDispatch())
    served = numpy(layer(x)).any(-1)
    assert served.all()
    assert not numpy(layer(x, training=True)).any(-1).all()


def test_expert_dropout_and_initial_scale_are_passed_on():
    layer = SwitchFeedForward(E, F, expert_dropout_rate=0.4, init_scale=0.3)
    assert layer.experts.expert_dropout_rate == 0.4
    assert layer.experts.init_scale == layer.router.init_scale == 0.3


@pytest.mark.parity
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("shape", [(5, D), (1, D), (1, 1, D), (2, 1, D), (1, 2, D)])
def test_it_takes_single_tokens(form, shape):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape).astype("float32")
    layer = make(dispatch=form)
    as_groups = x.reshape(-1, 1, D)
    expected = token_by_token(layer, as_groups, None, capacity=9).reshape(shape)
    y = layer(x)
    assert tuple(y.shape) == shape
    if len(shape) == 2 or shape[1] == 1:
        np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_more_experts_than_tokens(x, form):
    layer = make(num_experts=32, dispatch=form)
    y, _, gradients = step(layer, x, x, training=True)
    assert y.any(-1).all()
    assert gradients["wi"].shape == (32, D, F)


def test_policies_without_a_router_have_none(x):
    layer = make(routing=Uniform(capacity=CapacityFactor(train=E, eval=E)))
    assert {w.name for w in layer.weights} == {"wi", "wo"}
    wi, wo = (numpy(w.value) for w in layer.experts.weights)
    for i in range(L):  # dealt in turn, gate 1
        e = i % E
        expected = np.maximum(x[:, i] @ wi[e], 0) @ wo[e]
        np.testing.assert_allclose(layer(x)[:, i], expected, atol=1e-5)


@pytest.mark.parametrize("groups", [None, FixedGroups(5)], ids=str)
def test_policies_that_route_by_token_get_the_ids(x, groups):
    layer = make(routing=Hash(capacity=CapacityFactor(eval=E)), groups=groups)
    ids = np.arange(B * L).reshape(B, L)
    y = numpy(layer(x, token_ids=ids))
    # The same vector under the same id gets the same answer anywhere.
    flipped = numpy(layer(x[:, ::-1], token_ids=ids[:, ::-1]))
    np.testing.assert_allclose(flipped[:, ::-1], y, atol=1e-6)
    with pytest.raises(ValueError, match=r"Hash.*token_ids=\(B, L\)"):
        layer(x)


def model_of(layer, length=L):
    return keras.Sequential([keras.Input((length, D)), layer, keras.layers.Dense(2)])


def fitted(model, x, jit_compile=False, **kwargs):
    y = np.random.default_rng(5).standard_normal((len(x), L, 2))
    model.compile("sgd", "mse", jit_compile=jit_compile)
    history = model.fit(x, y, batch_size=2, verbose=0, **kwargs).history
    return {name: values[-1] for name, values in history.items()}


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


@pytest.mark.skipif(ON_JAX, reason="one backend reads what it wrote")
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {
            "routing": TopK(2, capacity=CapacityFactor(train=1.5, eval=3)),
            "dispatch": EinsumDispatch(),
            "groups": FixedGroups(6),
            "experts": GatedExperts(E, F, "silu"),
            "eval_dispatch": DroplessDispatch(4),
        },
        {"routing": Uniform(), "activation": "gelu", "expert_dropout_rate": 0.1},
    ],
    ids=["defaults", "parts", "no router"],
)
def test_it_survives_saving(x, tmp_path, kwargs):
    model = model_of(SwitchFeedForward(E, F, **kwargs))
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(restored(x), model(x), atol=1e-6)
    old, new = model.layers[0], restored.layers[0]
    for part in ("routing", "dispatch", "groups", "eval_dispatch"):
        assert getattr(new, part) == getattr(old, part)
    assert type(new.experts) is type(old.experts)


def test_the_mask_of_a_layer_before_is_respected_and_handed_on(x, mask):
    x = np.where(mask[..., None], x, 0)
    layer = make(routing=Switch(capacity=FixedCapacity(2)))
    inputs = keras.Input((L, D))
    outputs = layer(keras.layers.Masking()(inputs))
    assert keras.src.backend.get_keras_mask(outputs) is not None
    model = keras.Model(inputs, outputs)
    np.testing.assert_allclose(model(x), layer(x, mask=mask), atol=1e-6)


def test_integers_are_masks_too(x, mask):
    layer = make(routing=Switch(capacity=FixedCapacity(2)))
    segments = np.where(mask, 3, 0).astype("int32")
    np.testing.assert_allclose(layer(x, mask=segments), layer(x, mask=mask), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "kwargs", "message"),
    [
        ((2, 3, 4, D), {}, r"\(2, 3, 4, 4\).*\(batch, length, d_model\)"),
        ((D,), {}, r"\(4,\).*\(batch, length, d_model\)"),
        ((B, L, D), {"mask": np.ones((B, L + 1), bool)}, r"mask of shape \(3, 9\)"),
        ((B, L, D), {"mask": np.ones((B,), bool)}, r"mask of shape \(3,\)"),
        ((B, L, D), {"token_ids": np.ones((B, 1))}, r"token_ids of shape \(3, 1\)"),
    ],
)
def test_other_shapes_are_refused(shape, kwargs, message):
    layer = make()
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, "float32"), **kwargs)


def test_an_unknown_length_is_refused_where_a_group_is_a_sequence():
    with pytest.raises(ValueError, match=r"\(None, None, 4\).*fixed sequence length"):
        SwitchFeedForward(E, F)(keras.Input((None, D)))
    y = SwitchFeedForward(E, F, groups=FixedGroups(4))(keras.Input((None, D)))
    assert y.shape == (None, None, D)


@pytest.mark.parametrize("sizes", [(0, F), (E, 0), (E, 1.5)])
def test_sizes_are_positive_whole_numbers(sizes):
    with pytest.raises(ValueError, match="positive whole numbers"):
        SwitchFeedForward(*sizes)
