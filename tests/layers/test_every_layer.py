"""Properties that every dense layer has."""

import keras
import numpy as np
import pytest
from helpers_layers import array, set_random_weights, trained

from keras_switch import layers

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(2, 3, 8)).astype("float32")
SEGMENTS = np.array([[1, 1, 2, 0, 0], [1, 1, 1, 1, 1]], "int32")
READ = {"context": CONTEXT}


def attention():
    return layers.Attention(4, 2, num_kv_heads=2, dropout_rate=0.1)


def mlp():
    return layers.FeedForward(6, dropout_rate=0.1)


def decoder(**arguments):
    blocks = [layers.CrossBlock(attention(), attention(), mlp(), 0.1)]
    bias = layers.RelativeBias(4, num_buckets=8, max_distance=20, bidirectional=False)
    return layers.Stack(blocks, bias, causal=True, dropout_rate=0.1, **arguments)


LAYERS = {
    "RMSNorm": (lambda: layers.RMSNorm(epsilon=1e-5), (X,), {}),
    "FeedForward": (lambda: layers.FeedForward(6, "silu", 0.1, 0.2), (X,), {}),
    "GatedFeedForward": (lambda: layers.GatedFeedForward(6, "silu", 0.1), (X,), {}),
    "Attention": (
        lambda: layers.Attention(4, 2, 2, 0.1, layers.Rotary(100), 0.5),
        (X,),
        {"mask": layers.attention_mask(SEGMENTS, SEGMENTS)},
    ),
    "RelativeBias": (
        lambda: layers.RelativeBias(4, 8, 20, False),
        (np.arange(5), np.arange(7)),
        {},
    ),
    "Rotary": (lambda: layers.Rotary(100), (X[..., None, :], np.arange(5)), {}),
    "FourierMixing": (layers.FourierMixing, (X,), {}),
    "TokenEmbedding": (lambda: layers.TokenEmbedding(9, 8), (SEGMENTS,), {}),
    "Block": (
        lambda: layers.Block(attention(), mlp(), 0.1, 1e-5),
        (X,),
        {"segments": SEGMENTS},
    ),
    "ParallelBlock": (
        lambda: layers.ParallelBlock(attention(), mlp(), 0.1, 1e-5),
        (X,),
        {"segments": SEGMENTS},
    ),
    "CrossBlock": (
        lambda: layers.CrossBlock(attention(), attention(), mlp(), 0.1, 1e-5),
        (X,),
        READ,
    ),
    "Stack": (decoder, (X,), {**READ, "segments": SEGMENTS}),
    "Stack, remat": (lambda: decoder(remat=True), (X,), READ),
}


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture(params=LAYERS)
def case(request):
    make, args, kwargs = LAYERS[request.param]
    return make, args, {k: v for k, v in kwargs.items() if v is not None}


def made(case):
    make, args, kwargs = case
    layer = make()
    layer(*args, **kwargs)
    set_random_weights(layer)
    return layer


def test_every_weight_names_its_dimensions(case):
    for weight in made(case).trainable_weights:
        assert len(weight.dims) == len(weight.shape)
        assert set(weight.dims) <= {
            *("d_model", "d_ff", "heads", "kv_heads", "d_kv", "vocab", "buckets")
        }


@pytest.mark.parametrize(
    "policy",
    ["float32", "mixed_bfloat16", "bfloat16", "mixed_float16"],
    indirect=True,
)
def test_every_dtype_policy_runs_forward_and_backward(policy, case):
    _, args, kwargs = case
    layer = made(case)
    y, _, gradients, _ = trained_if_possible(layer, args, kwargs)
    assert np.isfinite(y).all()
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all(), weight.path
        assert np.abs(gradient).max() > 0, weight.path
    dtype = keras.backend.standardize_dtype(layer(*args, **kwargs).dtype)
    assert dtype == keras.DTypePolicy(policy).compute_dtype


def trained_if_possible(layer, args, kwargs):
    if "training" in layer._call_signature.parameters:
        return trained(layer, *args, **kwargs)
    if layer.trainable_weights:
        return trained(_Training(layer), *args, **kwargs)
    return array(layer(*args, **kwargs)), [], [], []


class _Training(keras.layers.Layer):
    """Takes the argument `training` off the call of a layer that has none."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.built = True

    def call(self, *args, training=False):
        return self.layer(*args)


def test_a_layer_made_again_from_its_config_gives_the_same(case):
    _, args, kwargs = case
    layer = made(case)
    config = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    again(*args, **kwargs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(
        array(again(*args, **kwargs)), array(layer(*args, **kwargs))
    )


def test_a_symbolic_call_has_the_shape_of_a_real_one(case):
    _, args, kwargs = case
    layer = made(case)

    def symbol(x):
        dtype = keras.backend.standardize_dtype(x.dtype)
        return keras.KerasTensor(x.shape, dtype=dtype)

    y = layer(*map(symbol, args), **{k: symbol(v) for k, v in kwargs.items()})
    real = layer(*args, **kwargs)
    assert tuple(y.shape) == tuple(real.shape)
    assert y.dtype == keras.backend.standardize_dtype(real.dtype)


def test_a_saved_model_comes_back_the_same(tmp_path):
    ids = keras.Input((None,), dtype="int32", name="ids")
    context = keras.Input((None, 8), name="context")
    embedding = layers.TokenEmbedding(9, 8)
    y = decoder(remat=True)(embedding(ids), segments=ids, context=context)
    model = keras.Model([ids, context], y)
    set_random_weights(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    given = [SEGMENTS, CONTEXT]
    np.testing.assert_array_equal(array(again(given)), array(model(given)))
    assert all(len(w.dims) == len(w.shape) for w in again.trainable_weights)


def test_float16_weights_are_refused_with_advice():
    with pytest.raises(ValueError, match=r"mixed_float16"):
        layers.RMSNorm(dtype="float16")
