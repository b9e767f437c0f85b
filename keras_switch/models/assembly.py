"""From a config to layers: the only place that chooses among parts."""

import dataclasses

from keras_switch import layers
from keras_switch.models.config import ENCODER_DECODER, ModelConfig
from keras_switch.models.parts import (
    Fourier,
    GatedMlp,
    Parallel,
    RelativePosition,
    RotaryPosition,
)


def token_embedding(config: ModelConfig, dtype=None):
    """Returns the token table, which also makes the logits."""
    return layers.TokenEmbedding(
        config.vocab_size,
        config.d_model,
        tied=config.tie_embeddings,
        init_scale=config.init_scale,
        dtype=dtype,
        name="token_embedding",
    )


def stack(config: ModelConfig, name: str, dtype=None):
    """Returns a whole stack.

    Args:
        config: the model's.
        name: `"encoder"` or `"decoder"`.
        dtype: policy of all its layers.
    """
    blocks = []
    for i in range(config.depth(name)):
        blocks.append(block(config, name, i, dtype))
        if config.sparse and config.sparse.extra_mlp and config.is_sparse(i, name):
            blocks.append(extra_block(config, i, dtype))
    return layers.Stack(
        blocks,
        position=_relative_bias(config, name, dtype),
        causal=name == "decoder",
        dropout_rate=config.dropout_rate,
        epsilon=config.layer_norm_epsilon,
        remat=config.remat,
        dtype=dtype,
        name=name,
    )


def block(config: ModelConfig, name: str, i: int, dtype=None):
    """Returns block `i` of a stack."""
    options = {
        "dropout_rate": config.dropout_rate,
        "epsilon": config.layer_norm_epsilon,
        "dtype": dtype,
        "name": f"block_{i}",
    }
    mixer = _mixer(config, name, dtype)
    if config.is_sparse(i, name):
        mlp = _sparse_mlp(config, name, i, dtype)
    else:
        mlp = _mlp(config, config.mlp, dtype)
    if name == "decoder" and config.architecture == ENCODER_DECODER:
        cross = _attention(config, dtype, "cross")
        return layers.CrossBlock(mixer, cross, mlp, **options)
    if isinstance(config.block, Parallel):
        return layers.ParallelBlock(mixer, mlp, **options)
    return layers.Block(mixer, mlp, **options)


def extra_block(config: ModelConfig, i: int, dtype=None):
    """Returns the dense sublayer that follows sparse block `i` in ST-MoE."""
    return layers.MlpBlock(
        _mlp(config, config.sparse.extra_mlp, dtype),
        dropout_rate=config.dropout_rate,
        epsilon=config.layer_norm_epsilon,
        dtype=dtype,
        name=f"block_{i}_extra",
    )


def _relative_bias(config, name, dtype):
    position = config.position
    mixes = name == "encoder" and isinstance(config.mixer, Fourier)
    if mixes or not isinstance(position, RelativePosition):
        return None
    return layers.RelativeBias(
        config.num_heads,
        position.num_buckets,
        position.max_distance,
        bidirectional=name == "encoder",
        dtype=dtype,
        name="relative_bias",
    )


def _mixer(config, name, dtype):
    if name == "encoder" and isinstance(config.mixer, Fourier):
        return layers.FourierMixing(dtype=dtype, name="mixer")
    if not isinstance(config.position, RotaryPosition):
        return _attention(config, dtype, "mixer")
    rotary = layers.Rotary(config.position.max_wavelength, dtype=dtype, name="rotary")
    # As in PaLM, arXiv:2204.02311; T5 does not divide.
    scale = config.d_kv**-0.5
    return _attention(config, dtype, "mixer", rotary=rotary, logit_scale=scale)


def _attention(config, dtype, name, **options):
    return layers.Attention(
        config.num_heads,
        config.d_kv,
        config.num_kv_heads,
        dropout_rate=config.dropout_rate,
        dtype=dtype,
        name=name,
        **options,
    )


def _mlp(config, kind, dtype):
    gated = isinstance(kind, GatedMlp)
    make = layers.GatedFeedForward if gated else layers.FeedForward
    return make(
        config.d_ff,
        kind.activation,
        dropout_rate=config.dropout_rate,
        init_scale=config.init_scale,
        dtype=dtype,
        name="mlp",
    )


def _sparse_mlp(config, name, i, dtype):
    sparse = config.sparse
    return layers.SwitchFeedForward(
        sparse.num_experts,
        sparse.d_ff or config.d_ff,
        config.mlp.activation,
        routing=_shared(config, name),
        dispatch=sparse.dispatch,
        groups=sparse.groups,
        expert_dropout_rate=sparse.expert_dropout_rate,
        init_scale=config.init_scale,
        experts=_experts(config, dtype),
        router=_router(config, name, dtype),
        eval_dispatch=sparse.eval_dispatch,
        dtype=dtype,
        # The name goes before its metrics, which stand side by side in the log.
        name=f"{name}_{i}",
    )


def _experts(config, dtype):
    gated = isinstance(config.mlp, GatedMlp)
    make = layers.GatedExperts if gated else layers.Experts
    return make(
        config.sparse.num_experts,
        config.sparse.d_ff or config.d_ff,
        config.mlp.activation,
        expert_dropout_rate=config.sparse.expert_dropout_rate,
        init_scale=config.init_scale,
        dtype=dtype,
        name="experts",
    )


def _router(config, name, dtype):
    if not config.routing(name).uses_router:
        return None
    options = config.sparse.router
    return layers.Router(
        config.sparse.num_experts,
        use_bias=options.use_bias,
        init_scale=options.init_scale or config.init_scale,
        dtype=dtype,
        name="router",
    )


def _shared(config, name):
    """Returns a stack's policy with its losses' weights shared out among layers."""
    policy = config.routing(name)
    sparse = sum(len(config.sparse_layers(stack)) for stack in config.stacks)
    share = config.sparse.layer_losses.share(sparse)
    weights = {
        field.name: getattr(policy, field.name) * share
        for field in dataclasses.fields(policy)
        if field.name.endswith("_loss_weight")
    }
    return dataclasses.replace(policy, **weights)
