"""Weights and configs of other implementations, as ours; gradients on any backend."""

import dataclasses
import json
import re

import keras
import numpy as np
from keras import ops

from keras_switch import layers, models
from keras_switch.dispatch import FlaxformerGroups, MeshTensorFlowGroups
from keras_switch.routing import Argmax, CapacityFactor, FixedCapacity, Switch, TopK

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


def load(model, source):
    """Fills a model.

    Args:
        model: a built model.
        source: function of a weight's path and shape that returns its value.
    """
    for variable in model.weights:
        variable.assign(source(variable.path, tuple(variable.shape)))


# Hugging Face ---------------------------------------------------------------------

HF_LAST = {"encoder": 1, "decoder": 2}
HF_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}


def hf_names(path, num_experts):
    """Returns the names of Hugging Face that hold the weight at `path`, in order."""
    if path == "token_embedding/embedding":
        return ["shared.weight"]
    if path == "token_embedding/logits":
        return ["lm_head.weight"]
    stack, *rest = path.split("/")
    if rest[0] == "final_norm":
        return [f"{stack}.final_layer_norm.weight"]
    if rest[0] == "relative_bias":
        where = f"{stack}.block.0.layer.0.SelfAttention"
        return [f"{where}.relative_attention_bias.weight"]
    at = f"{stack}.block.{rest[0].removeprefix('block_')}.layer"
    last, part = HF_LAST[stack], rest[1]
    if part.endswith("_norm"):
        where = {"mixer_norm": 0, "cross_norm": 1, "mlp_norm": last}[part]
        return [f"{at}.{where}.layer_norm.weight"]
    if part in ("mixer", "cross"):
        kind = "0.SelfAttention" if part == "mixer" else "1.EncDecAttention"
        return [f"{at}.{kind}.{HF_ATTENTION[rest[2]]}.weight"]
    if part == "mlp":
        return [f"{at}.{last}.mlp.{rest[2]}.weight"]
    if rest[2] == "router":
        kind = "weight" if rest[3] == "kernel" else "bias"
        return [f"{at}.{last}.mlp.router.classifier.{kind}"]
    experts = range(num_experts)
    return [f"{at}.{last}.mlp.experts.expert_{e}.{rest[3]}.weight" for e in experts]


def hf_array(path, name, value):
    """Returns a tensor of Hugging Face as ours: kernels are transposed there."""
    return value if path == "token_embedding/embedding" else value.T


def hf_source(tensors, num_experts):
    """Returns a function for `load` that reads Hugging Face's tensors."""

    def source(path, shape):
        names = hf_names(path, num_experts)
        names = [
            n if n in tensors else n.replace("mlp", "DenseReluDense") for n in names
        ]
        values = [hf_array(path, name, tensors[name]) for name in names]
        return np.reshape(values, shape)

    return source


def hf_config(file):
    """Returns our config of a `config.json` of Hugging Face."""
    c = json.loads(file.read_text())
    act = {"gelu_new": "gelu"}.get(c["dense_act_fn"], c["dense_act_fn"])
    gated = c.get("is_gated_act", False)
    sparse = None
    if "num_experts" in c:
        routing = Switch(
            capacity=FixedCapacity(c["expert_capacity"]),
            exploration=Argmax(),
            balance_loss_weight=0.0,
        )
        sparse = models.Sparse(
            c["num_experts"],
            placement=models.HuggingFace(c["encoder_sparse_step"]),
            decoder_placement=models.HuggingFace(c["decoder_sparse_step"]),
            routing=routing,
            router=models.RouterOptions(use_bias=c["router_bias"]),
        )
    return models.ModelConfig(
        vocab_size=c["vocab_size"],
        d_model=c["d_model"],
        d_ff=c["d_ff"],
        d_kv=c["d_kv"],
        num_heads=c["num_heads"],
        num_layers=c["num_layers"],
        num_decoder_layers=c["num_decoder_layers"],
        mlp=models.GatedMlp(act) if gated else models.PlainMlp(act),
        position=models.RelativePosition(
            c.get("relative_attention_num_buckets", 32),
            c.get("relative_attention_max_distance", 128),
        ),
        sparse=sparse,
        layer_norm_epsilon=c["layer_norm_epsilon"],
        tie_embeddings=c["tie_word_embeddings"],
    )


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


# Mesh TensorFlow and flaxformer ----------------------------------------------------


def mtf_source(reader, legacy):
    """Returns a function for `load` that reads a Mesh TensorFlow checkpoint.

    Args:
        reader: of `tf.train.load_checkpoint`.
        legacy: whether norms have their names of 2020.
    """
    return lambda path, shape: np.reshape(
        reader.get_tensor(mtf_name(path, legacy)), shape
    )


def mtf_name(path, legacy):
    """Returns the name of a weight in Mesh TensorFlow: dense, sparse, dense, ..."""
    norm, final = (
        ("layer_norm", "final_layer_norm") if legacy else ("rms_norm", "rms_norm")
    )
    if path == "token_embedding/embedding":
        return "shared/embedding"
    if path == "token_embedding/logits":
        return "decoder/logits/kernel"
    stack, *rest = path.split("/")
    if rest[0] == "final_norm":
        return f"{stack}/{final}/scale"
    if rest[0] == "relative_bias":
        return f"{stack}/block_000/layer_000/SelfAttention/relative_attention_bias"
    i, part, size = int(rest[0][6:]), rest[1], {"encoder": 2, "decoder": 3}[stack]
    place = {"mixer": 0, "cross": 1}.get(part.removesuffix("_norm"), size - 1)
    at = f"{stack}/block_{i // 2:03}/layer_{size * (i % 2) + place:03}"
    if part.endswith("_norm"):
        return f"{at}/{norm}/scale"
    if part in ("mixer", "cross"):
        kind = "SelfAttention" if part == "mixer" else "EncDecAttention"
        return f"{at}/{kind}/{HF_ATTENTION[rest[2]]}"
    if part == "mlp":
        return f"{at}/DenseReluDense/{rest[2]}/kernel"
    kind = "switch_gating" if rest[2] == "router" else rest[3]
    return f"{at}/MoE1D/{kind}/kernel"


def mtf_config(meta, **routing):
    """Returns our config of a Mesh TensorFlow model in the goldens' README."""
    capacity = CapacityFactor(meta["cf_train"], meta["cf_eval"], at_most_group=False)
    policy = Switch(
        capacity=routing.pop("capacity", capacity),
        exploration=Argmax(),
        z_loss_weight=(meta["moe_z"] or 0.0) * 1e-2,
        padding="mesh_tensorflow",
    )
    gated = meta["act"] != "relu"
    return models.ModelConfig(
        vocab_size=128,
        d_model=meta["d_model"],
        d_ff=meta["d_ff"],
        d_kv=meta["kv"],
        num_heads=meta["heads"],
        num_layers=2 * meta["blocks"],
        mlp=models.GatedMlp() if gated else models.PlainMlp(),
        position=models.RelativePosition(meta["buckets"]),
        tie_embeddings=meta["tied"],
        sparse=models.Sparse(
            meta["E"],
            meta["moe_h"],
            routing=policy,
            groups=MeshTensorFlowGroups(meta["group"]),
        ),
    )


def flax_name(path):
    """Returns the name of a weight in flaxformer."""
    if path == "token_embedding/embedding":
        return "token_embedder/embedding"
    if path == "token_embedding/logits":
        return "decoder/logits_dense/kernel"
    stack, *rest = path.split("/")
    if rest[0] == "final_norm":
        return f"{stack}/{stack}_norm/scale"
    if rest[0] == "relative_bias":
        return f"{stack}/relpos_bias/rel_embedding"
    at = re.sub("block_", "layers_", f"{stack}/{rest[0]}")
    own = "attention" if stack == "encoder" else "self_attention"
    norms = {"mixer_norm": own, "cross_norm": "cross_attention", "mlp_norm": "mlp"}
    if rest[1] in norms:
        return f"{at}/pre_{norms[rest[1]]}_layer_norm/scale"
    if rest[1] in ("mixer", "cross"):
        kind = own if rest[1] == "mixer" else "encoder_decoder_attention"
        return f"{at}/{kind}/{rest[2].replace('output', 'out')}/kernel"
    if rest[1] == "mlp":
        return f"{at}/mlp/{rest[2]}/kernel"
    if rest[2] == "router":
        return f"{at}/mlp/router/router_weights/w/kernel"
    return f"{at}/mlp/expert/{rest[3]}/kernel"


def flax_config(meta, **capacity):
    """Returns our config of a flaxformer model in the goldens' README."""
    rule = {"train": meta["cft"], "eval": meta["cfe"], **capacity}
    policy = TopK(
        1,
        capacity=CapacityFactor(
            **rule, minimum=meta["mincap"], rounding="round", at_most_group=False
        ),
        balance_loss_weight=meta["aux"],
        z_loss_weight=meta["rz"],
        padding="flaxformer",
    )
    every = meta["encs"] == meta["enc"]
    return models.ModelConfig(
        vocab_size=meta["V"],
        d_model=meta["d"],
        d_ff=meta["ff"],
        d_kv=meta["kv"],
        num_heads=meta["heads"],
        num_layers=meta["enc"],
        mlp=models.GatedMlp() if every else models.PlainMlp(),
        position=models.RelativePosition(meta["nb"], meta["md"]),
        tie_embeddings=not every,
        sparse=models.Sparse(
            meta["E"],
            meta["eff"],
            placement=models.AllLayers() if every else models.Odd(),
            routing=policy,
            groups=FlaxformerGroups(meta["group"], meta["E"]),
            layer_losses=models.LayerMean(),
        ),
    )
