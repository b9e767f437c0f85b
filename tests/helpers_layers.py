"""Oracles and helpers for tests of layers."""

import json

import keras
import numpy as np
from keras import ops
from safetensors.numpy import load_file

from keras_switch import layers


def array(x):
    """Returns a tensor as float32 (or integer) NumPy."""
    x = ops.convert_to_tensor(x)
    if "float" in keras.backend.standardize_dtype(x.dtype):
        x = ops.cast(x, "float32")
    return ops.convert_to_numpy(x)


def set_random_weights(layer, seed=0):
    """Gives the trainable weights values that no initializer would, no two alike."""
    rng = np.random.default_rng(seed)
    for weight in layer.trainable_weights:
        spread = 0.5 / np.sqrt(max(weight.shape[-2:]))
        centre = 1.0 if weight.path.endswith("scale") else 0.0
        weight.assign(centre + spread * rng.normal(size=weight.shape))


def trained(layer, *args, **kwargs):
    """Returns output, losses added, gradients and new states of one training call.

    The gradients are those of the summed squares of the output plus the losses, with
    respect to every trainable weight. Runs under TensorFlow and JAX.
    """
    weights = layer.trainable_variables
    states = layer.non_trainable_variables

    def total(y, losses):
        return ops.sum(ops.square(ops.cast(y, "float32"))) + sum(losses)

    if keras.backend.backend() == "jax":
        import jax

        def loss(weights, states):
            y, states, losses = layer.stateless_call(
                weights, states, *args, return_losses=True, training=True, **kwargs
            )
            return total(y, losses), (y, states, losses)

        values = [v.value for v in weights], [v.value for v in states]
        gradients, (y, after, losses) = jax.jit(jax.grad(loss, has_aux=True))(*values)
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            y = layer(*args, training=True, **kwargs)
            losses = layer.losses
            value = total(y, losses)
        gradients = tape.gradient(value, [v.value for v in weights])
        after = states
    return (
        array(y),
        [array(v) for v in losses],
        [array(v) for v in gradients],
        [array(v) for v in after],
    )


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def turned(vector, position, max_wavelength=10_000):
    """Returns a vector whose pairs of coordinates, as complex numbers, are turned."""
    half = len(vector) // 2
    pairs = vector[:half] + 1j * vector[half:]
    pairs = pairs * np.exp(1j * position / max_wavelength ** (np.arange(half) / half))
    return np.concatenate([pairs.real, pairs.imag])


def attention_token_by_token(
    layer, x, context, visible, bias=None, turn=lambda vector, position: vector
):
    """Returns `layer`'s output by its definition, one query and head at a time.

    Args:
        layer: `Attention`.
        x, context: `(B, Q, D)`, `(B, Kl, D)` NumPy.
        visible: function `(row, query, key) -> bool`.
        bias: `(H, Q, Kl)` NumPy.
        turn: function of a head's vector and its position (rotary).
    """
    wq, wk, wv, wo = (
        array(w).astype("float64")
        for w in (layer.query, layer.key, layer.value, layer.out)
    )
    group = layer.num_heads // layer.kv_heads
    y = np.zeros((*x.shape[:2], wo.shape[-1]))
    for row, query, head in np.ndindex(*x.shape[:2], layer.num_heads):
        q = turn(x[row, query] @ wq[:, head], query)
        keys = [k for k in range(context.shape[1]) if visible(row, query, k)]
        logits = [
            layer.logit_scale
            * np.dot(q, turn(context[row, k] @ wk[:, head // group], k))
            + (0 if bias is None else bias[head, query, k])
            for k in keys
        ]
        probs = softmax(np.array(logits))
        values = [context[row, k] @ wv[:, head // group] for k in keys]
        y[row, query] += np.dot(probs, np.array(values)) @ wo[head]
    return y


def hf_t5(folder):
    """Returns the encoder and decoder stacks of a Hugging Face T5, and its config."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    encoder, decoder = (_hf_stack(config, weights, n) for n in ("encoder", "decoder"))
    return encoder, decoder, config, weights


def _hf_stack(config, weights, side):
    heads, d_kv, d_model = config["num_heads"], config["d_kv"], config["d_model"]
    causal, gated = side == "decoder", config["is_gated_act"]
    epsilon = config["layer_norm_epsilon"]

    blocks = []
    for _ in range(config["num_layers"]):
        kind = layers.GatedFeedForward if gated else layers.FeedForward
        mlp = kind(config["d_ff"], config["dense_act_fn"].removesuffix("_new"))
        mixers = [layers.Attention(heads, d_kv) for _ in range(2 if causal else 1)]
        kind = layers.CrossBlock if causal else layers.Block
        blocks.append(kind(*mixers, mlp, epsilon=epsilon))
    position = layers.RelativeBias(
        heads,
        config["relative_attention_num_buckets"],
        config["relative_attention_max_distance"],
        bidirectional=not causal,
    )
    stack = layers.Stack(blocks, position, causal=causal, epsilon=epsilon)
    shape = (None, None, d_model)
    stack.build(shape, *([shape] if causal else []))

    def given(name):
        return weights[f"{side}.{name}.weight"]

    position.embedding.assign(
        given("block.0.layer.0.SelfAttention.relative_attention_bias").T
    )
    stack.final_norm.scale.assign(given("final_layer_norm"))
    for i, block in enumerate(blocks):
        _set_attention(block.mixer, given, f"block.{i}.layer.0.SelfAttention")
        block.mixer_norm.scale.assign(given(f"block.{i}.layer.0.layer_norm"))
        if causal:
            block.cross_norm.scale.assign(given(f"block.{i}.layer.1.layer_norm"))
            _set_attention(block.cross, given, f"block.{i}.layer.1.EncDecAttention")
        last = f"block.{i}.layer.{2 if causal else 1}"
        block.mlp_norm.scale.assign(given(f"{last}.layer_norm"))
        for name in ("wi_0", "wi_1", "wo") if gated else ("wi", "wo"):
            getattr(block.mlp, name).assign(given(f"{last}.DenseReluDense.{name}").T)
    return stack


def _set_attention(layer, given, name):
    for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"), ("out", "o")):
        weight = getattr(layer, ours)
        value = given(f"{name}.{theirs}").T
        weight.assign(value.reshape(weight.shape))
