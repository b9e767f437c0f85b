"""Updates of low rank beside kernels, against kernels that have them added."""

import keras
import numpy as np
import pytest
from helpers_layers import array, set_random_weights, trained
from keras import ops

from keras_switch import layers

X = np.random.default_rng(0).normal(size=(3, 5, 8)).astype("float32")
R = 2
# Made, and the parameters of rank 2 by hand: R (inputs + outputs) of each kernel.
LAYERS = {
    # Kernels 8 x 4 x 3 of four heads, 8 x 2 x 3 of two, 4 x 3 x 8.
    "Attention": (
        lambda: layers.Attention(4, 3, num_kv_heads=2),
        R * (8 + 12) + 2 * R * (8 + 6) + R * (12 + 8),
    ),
    "FeedForward": (lambda: layers.FeedForward(6), 2 * R * (8 + 6)),
    "GatedFeedForward": (lambda: layers.GatedFeedForward(6), 3 * R * (8 + 6)),
    "Experts": (lambda: layers.Experts(3, 6, use_bias=True), 3 * 2 * R * (8 + 6)),
    "GatedExperts": (lambda: layers.GatedExperts(3, 6), 3 * 3 * R * (8 + 6)),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, parameters = LAYERS[request.param]
    layer = make()
    layer(X)
    set_random_weights(layer)
    return layer, parameters


def lora_weights(layer):
    return [weight for weight in layer.weights if "_lora_" in weight.name]


@pytest.mark.parity
def test_enabled_it_changes_no_output_and_adds_the_parameters_of_its_rank(case):
    layer, parameters = case
    before = array(layer(X))
    layer.enable_lora(R)
    np.testing.assert_array_equal(array(layer(X)), before)
    added = lora_weights(layer)
    assert sum(int(np.prod(weight.shape)) for weight in added) == parameters
    for weight in added:
        assert len(weight.dims) == len(weight.shape)
        assert weight.dims.count(None) == 1
        assert weight.shape[weight.dims.index(None)] == R


@pytest.mark.parity
def test_merged_kernels_compute_the_same(case):
    layer, _ = case
    names = {weight.path for weight in layer.weights}
    layer.enable_lora(R, lora_alpha=3.0)
    set_random_weights(layer)
    wanted = array(layer(X))
    layer.merge_lora()
    np.testing.assert_allclose(array(layer(X)), wanted, atol=2e-6)
    assert {weight.path for weight in layer.weights} == names
    assert all(weight.trainable for weight in layer.weights)
    layer.enable_lora(R)  # and once more


@pytest.mark.parity
def test_only_the_updates_have_gradients_and_they_are_right(case):
    layer, _ = case
    layer.enable_lora(R)
    set_random_weights(layer)
    frozen = [w for w in layer.trainable_weights if "_lora_" not in w.name]
    # Biases of experts stay trained until a model freezes all but LoRA.
    assert all(w.name in ("bi", "bo") for w in frozen)
    _, _, gradients, _ = trained(layer, X)
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        index = tuple(size // 2 for size in weight.shape)
        value = weight.numpy().astype("float64")
        losses = []
        for step in (1e-3, -1e-3):
            moved = value.copy()
            moved[index] += step
            weight.assign(moved)
            losses.append(np.sum(np.square(array(layer(X)).astype("float64"))))
        weight.assign(value)
        wanted = (losses[0] - losses[1]) / 2e-3
        np.testing.assert_allclose(gradient[index], wanted, rtol=2e-2, atol=2e-3)


def test_a_saved_layer_comes_back_with_its_updates(case, tmp_path):
    layer, _ = case
    layer.enable_lora(R, 5.0)
    inputs = keras.Input((5, 8), batch_size=3)
    model = keras.Model(inputs, layer(inputs))
    set_random_weights(layer)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(again(X)), array(model(X)))
    assert len(again.trainable_weights) == len(model.trainable_weights)
    assert all(w.dims for w in again.weights)


def test_experts_in_blocks_take_the_updates_of_their_owner():
    layer = layers.Experts(3, 6)
    layer.build(X.shape)
    layer.enable_lora(R)
    set_random_weights(layer)
    wanted, owner = array(layer(X)), np.array([2, 0, 2, 1], "int32")
    got = array(layer(X[owner], owner=owner))
    np.testing.assert_allclose(got, wanted[owner], atol=1e-6)


def test_under_bfloat16_the_updates_are_stored_in_float32():
    for make, _ in LAYERS.values():
        keras.config.set_dtype_policy("bfloat16")
        try:
            layer = make()
        finally:
            keras.config.set_dtype_policy("float32")
        layer(X)
        layer.enable_lora(R)
        assert {weight.dtype for weight in lora_weights(layer)} == {"float32"}
        assert layer(X).dtype == "bfloat16"
        layer.merge_lora()


def test_attention_steps_with_its_updates_as_it_attends():
    layer = layers.Attention(2, 4)
    layer(X)
    layer.enable_lora(R)
    set_random_weights(layer)
    mask = np.tril(np.ones((5, 5), bool))[None, None]
    wanted = array(layer(X, mask=mask))
    cache = layer.init_cache(3, 5)
    for i in range(5):
        y, cache = layer.step(X[:, i : i + 1], cache, i, mask[:, :, i : i + 1])
        np.testing.assert_allclose(array(y)[:, 0], wanted[:, i], atol=1e-5)


@pytest.mark.parity
def test_recomputed_blocks_have_the_same_gradients_and_copy_no_frozen_kernel(
    monkeypatch,
):
    copied, results, copy = [], [], ops.copy
    monkeypatch.setattr(
        "keras_switch.layers.remat.ops.copy",
        lambda x: copied.append(x.shape) or copy(x),
    )
    for remat in (False, True):
        mixer = layers.Attention(2, 4)
        stack = layers.Stack([layers.Block(mixer, layers.FeedForward(6))], remat=remat)
        stack(X)
        set_random_weights(stack)
        mixer.enable_lora(R)
        for weight in stack.trainable_weights:
            weight.trainable = "_lora_" in weight.name
        set_random_weights(stack)
        results.append(trained(stack, X))
    assert not any(len(shape) > 1 for shape in copied)
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5, atol=1e-5)
    assert len(results[0][2]) == len(results[1][2]) == 8
    for one, other in zip(results[0][2], results[1][2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"rank": 0}, "rank of 0.*whole number above 0"),
        ({"rank": 2.5}, "rank of 2.5"),
        ({"rank": 2, "targets": ("wi", "wq")}, r"'wq'.*\('wi', 'wo'\)"),
        ({"rank": 2, "targets": ()}, r"targets \(\): give names among"),
    ],
)
def test_a_bad_rank_or_name_is_refused(arguments, says):
    layer = layers.FeedForward(6)
    layer(X)
    with pytest.raises(ValueError, match=says):
        layer.enable_lora(**arguments)


def test_twice_is_refused():
    layer = layers.FeedForward(6)
    layer.enable_lora(2)  # before it is built
    layer(X)
    assert len(lora_weights(layer)) == 4
    with pytest.raises(ValueError, match=r"LoRA of rank 2 already.*merge_lora"):
        layer.enable_lora(2)
