"""The sparse feed-forward layer: what it answers."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy, step
from helpers_feed_forward import (
    FORMS,
    B,
    D,
    E,
    F,
    L,
    make,
    model_of,
    token_by_token,
)

from keras_switch.dispatch import (
    DroplessDispatch,
    EinsumDispatch,
    FixedGroups,
)
from keras_switch.layers import GatedExperts, SwitchFeedForward
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    FixedCapacity,
    Hash,
    Switch,
    TopK,
    Uniform,
)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((B, L, D)).astype("float32")


@pytest.fixture
def mask():
    mask = np.ones((B, L), bool)
    mask[0, 5:] = mask[2, 3:] = False
    return mask


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
