"""Tiny models, losses and calls of other implementations, gradients on any backend."""

import contextlib
import dataclasses

import keras
import numpy as np
from keras import ops

from keras_switch import layers, models

TINY = models.ModelConfig(
    vocab_size=48,
    d_model=16,
    d_ff=24,
    d_kv=4,
    num_heads=4,
    num_layers=2,
    position=models.RelativePosition(8, 20),
)
TINY_SPARSE = models.Sparse(num_experts=4)


def tiny(**changes):
    """Returns a config of two sparse layers a stack with some fields changed."""
    return dataclasses.replace(TINY, **{"sparse": TINY_SPARSE, **changes})


def inputs(config, batch=2, length=12, targets=8, seed=0):
    """Returns a batch of the backbone's inputs, no padding, as NumPy arrays."""
    rng = np.random.default_rng(seed)
    shapes = {"": length, "encoder_": length, "decoder_": targets}
    two = config.architecture == models.config.ENCODER_DECODER
    found = {}
    for name in ("encoder_", "decoder_") if two else ("",):
        shape = (batch, shapes[name])
        ids = rng.integers(3, config.vocab_size, shape)
        found[f"{name}token_ids"] = ids.astype("int32")
        found[f"{name}padding_mask"] = np.ones(shape, "int32")
    return found


def scatter(model, scale=0.3, seed=0):
    """Gives every weight random values, so that no two parts look alike."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        noise = scale * rng.standard_normal(variable.shape)
        variable.assign((1.0 if "norm" in variable.path else 0.0) + noise)


@contextlib.contextmanager
def dropping(model):
    """Makes `generate` drop tokens that find no place, as a plain call does."""
    layers = models.sparse_layers(model)
    for layer in layers:
        layer.eval_dispatch = layer.dispatch
    try:
        yield
    finally:
        for layer in layers:
            layer.eval_dispatch = None


def gradients(model, loss):
    """Returns a loss and its gradients by the paths of the trainable weights.

    Args:
        model: the model; what its layers add to the loss in training is added here.
        loss: function without arguments that calls the model.
    """
    variables = model.trainable_variables
    paths = [variable.path for variable in variables]
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        model._clear_losses()
        with tf.GradientTape() as tape:
            value = loss()
            value = value + sum(model.losses)
        found = tape.gradient(value, [v.value for v in variables])
        found = [tf.convert_to_tensor(g) for g in found]
    else:
        import jax

        def stateless(values):
            mapping = list(zip(variables, values, strict=True))
            with keras.StatelessScope(mapping, collect_losses=True) as scope:
                value = loss()
            return value + sum(scope.losses)

        graded = jax.jit(jax.value_and_grad(stateless))
        value, found = graded([v.value for v in variables])
    return float(value), dict(zip(paths, map(np.asarray, found), strict=True))


def cross_entropy(logits, labels, weights, low=0.0, z_loss=0.0):
    """Returns the sum of weighted losses of `labels` `(B, T)`.

    Args:
        logits: `(B, T, V)`.
        labels: `(B, T)` int.
        weights: `(B, T)`, 1 for real tokens.
        low: probability of each wrong token in the smoothed target.
        z_loss: weight of the squared logarithm of the partition function.
    """
    vocab = logits.shape[-1]
    partition = ops.logsumexp(logits, axis=-1, keepdims=True)
    target = ops.one_hot(ops.cast(labels, "int32"), vocab)
    target = target * (1 - low * vocab) + low
    losses = ops.sum(target * (partition - logits), axis=-1)
    losses = losses + z_loss * ops.square(ops.squeeze(partition, -1))
    return ops.sum(losses * ops.cast(weights, "float32"))


def hf_forward(model, batch):
    """Returns logits and encoder output with padding as Hugging Face treats it.

    There padded tokens attend to real ones and are routed. Nothing that a real token
    sees changes, but auxiliary losses do.
    """
    backbone = model.backbone
    real = ops.cast(batch["attention_mask"], "int32")
    cross = layers.attention_mask(None, real)
    encoded = run_stack(backbone, backbone.encoder, batch["input_ids"], cross)
    ids = batch["decoder_input_ids"]
    at = ops.arange(ids.shape[1])
    decoded = run_stack(
        backbone,
        backbone.decoder,
        ids,
        layers.causal_mask(at, at),
        context=encoded,
        context_mask=cross,
    )
    return model.head(decoded), encoded


def run_stack(backbone, stack, ids, mask, real=None, **given):
    """Returns a stack's output with masks that segments cannot say.

    Args:
        backbone: the model.
        stack: its encoder or decoder.
        ids: `(B, L)` int.
        mask: `(B or 1, 1, Q, Kl)` bool, of self-attention.
        real: `(B, L)` int, 0 for padding, which every block then gets as zeros.
        **given: further arguments of the blocks.
    """
    ids = ops.cast(ids, "int32")
    at = ops.arange(ids.shape[1])
    bias = stack.position(at, at)
    x = backbone.token_embedding(ids)
    for block in stack.blocks:
        x = x if real is None else x * ops.cast(real, x.dtype)[..., None]
        x = block(x, segments=real, mask=mask, bias=bias, **given)
    return stack.final_norm(x)
