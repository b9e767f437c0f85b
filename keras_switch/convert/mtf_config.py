"""The model of a Mesh TensorFlow run, from its operative config and its weights.

Sizes are those of the weights. What no weight shows (activation, capacity, groups,
routing policy, losses, dropout) stands in `operative_config.gin`. Defaults are those of
`mesh_tensorflow/transformer`, which an operative config repeats.
"""

from keras_switch import models
from keras_switch.convert.errors import refuse
from keras_switch.convert.gin_text import Reference
from keras_switch.convert.placements import placement
from keras_switch.dispatch import MeshTensorFlowGroups
from keras_switch.partitioning.mistakes import nearest
from keras_switch.routing import (
    AllSeconds,
    Argmax,
    CapacityFactor,
    ExpertSelection,
    GShardTop2,
    GShardTopN,
    InputDropout,
    InputJitter,
    NoSeconds,
    NoTokenLeftBehind,
    RandomSeconds,
    Sample,
    Switch,
    ThresholdSeconds,
)

# Defaults of MoE1D; those without an entry in `_MOE_FIXED` are translated.
_MOE = {
    "num_experts": 16,
    "loss_coef": 1e-2,
    "hidden_size": 4096,
    "group_size": 1024,
    "capacity_factor_train": 1.25,
    "capacity_factor_eval": 2.0,
    "use_second_place_loss": False,
    "second_policy_train": "random",
    "second_policy_eval": "random",
    "second_threshold_train": 0.2,
    "second_threshold_eval": 0.2,
    "dropout_rate": 0.0,
    "activation": "relu",
    "moe_gating": "top_2",
    "min_expert_capacity": 4,
    "switch_policy_train": "input_jitter",
    "switch_policy_eval": "input_jitter",
    "switch_dropout": 0.1,
    "switch_temperature": 1.0,
    "switch_jitter": 1e-2,
    "ntlb_top_k": 4,
    "output_dim": None,
    "use_experts_attention": False,
    "z_loss": None,
    "top_n_num_experts_per_token": 3,
}
_FIXED = {
    "MoE1D": {"output_dim": (None,), "use_experts_attention": (False,)},
    "SelfAttention": {
        "num_memory_heads": (0,),
        "shared_kv": (False,),
        "attention_kwargs": (None,),
        "attention_func": (None,),
        "combine_dims": (True,),
        "keep_query_heads_dims": (False,),
        "fold_scaling_into_initializer": (True,),
        "relative_attention_type": ("bias_shared",),
    },
    "EncDecAttention": {"relative_attention_type": (None,)},
    "DenseReluDense": {"use_bias": (False,)},
    "Unitransformer": {
        "ensemble": (None,),
        "positional_embedding": (False,),
        "sinusoid_positional_embedding": (False,),
        "input_full_attention": (False,),
        "token_dropout_rate": (0.0,),
    },
}
_FREE = {
    "SelfAttention": {
        *("num_heads", "key_value_size", "dropout_rate"),
        "relative_attention_num_buckets",
    },
    "EncDecAttention": {"num_heads", "key_value_size", "dropout_rate"},
    "DenseReluDense": {"hidden_size", "dropout_rate", "activation"},
    "Unitransformer": {
        *("d_model", "max_length", "shared_embedding_and_softmax_weights"),
        *("label_smoothing", "z_loss", "vocab_divisor", "loss_on_targets_only"),
        *("loss_denominator", "loss_fn", "autoregressive", "input_vocab_size"),
        *("output_vocab_size", "name", "layout", "mesh_shape", "layer_stack"),
    },
}
_EPSILON = 1e-6
_EXPLORATIONS = {
    "argmax": lambda moe: Argmax(),
    "input_jitter": lambda moe: InputJitter(moe["switch_jitter"]),
    "input_dropout": lambda moe: InputDropout(moe["switch_dropout"]),
    "sample": lambda moe: Sample(moe["switch_temperature"]),
}
_SECONDS = {
    "all": lambda threshold: AllSeconds(),
    "none": lambda threshold: NoSeconds(),
    "threshold": ThresholdSeconds,
    "random": RandomSeconds,
}
_GATINGS = ("switch", "switch_max", "top_2", "top_n", "ntlb", "expert_selection")


def from_mesh_tensorflow(gin, source, layout, sentinels=0) -> models.ModelConfig:
    """Returns our config of a run.

    Args:
        gin: `GinText` of its operative config.
        source: `Source` of its checkpoint.
        layout: `mtf_names.Layout` of the same.
        sentinels: sentinels of the vocabulary.

    Raises:
        ConversionError: naming every parameter that is unknown, or of a value that has
            no counterpart here.
    """
    mistakes = [*_unknown(gin), *_fixed(gin)]
    shape = {name: tensor.shape for name, tensor in source.tensors.items()}
    encoder = layout.scopes["encoder"]
    bias = f"{encoder[0]['mixer']}/SelfAttention/relative_attention_bias"
    query = shape.get(f"{encoder[0]['mixer']}/SelfAttention/q", (0, 0))
    if bias not in shape or len(shape.get("shared/embedding", ())) != 2:
        mistakes.append(f"{bias} and shared/embedding: sizes are read off them")
    refuse(f"{gin.source} cannot be translated", mistakes)
    heads, buckets = shape[bias]
    vocab, d_model = shape["shared/embedding"]
    mlp, widths = _mlp(gin, shape, layout, mistakes)
    sparse = _sparse(gin, layout, widths, mistakes)
    dropout = gin.get("sublayer_dropout", "dropout_rate")
    if dropout is None:
        dropout = gin.get("LayerStack", "dropout_rate")
    refuse(f"{gin.source} cannot be translated", mistakes)
    return models.ModelConfig(
        vocab_size=vocab,
        num_sentinels=sentinels,
        d_model=d_model,
        d_ff=widths.get("dense", widths.get("sparse")),
        d_kv=query[1] // heads,
        num_heads=heads,
        num_layers=len(encoder),
        num_decoder_layers=len(layout.scopes["decoder"]),
        mlp=mlp,
        position=models.RelativePosition(buckets),
        sparse=sparse,
        dropout_rate=float(dropout or 0.0),
        layer_norm_epsilon=_epsilon(gin),
        tie_embeddings="decoder/logits/kernel" not in shape,
    )


def _epsilon(gin):
    legacy = gin.get("LayerStack", "norm_epsilon")
    return legacy or gin.get("sublayer_rms_norm", "epsilon", _EPSILON)


def _unknown(gin):
    for thing in (*_FREE, "MoE1D"):
        known = _FREE.get(thing, set(_MOE)) | set(_FIXED.get(thing, ()))
        for name in sorted(gin.parameters(thing) - known):
            yield f"{thing}.{name}: unknown; nearest known is {nearest(name, known)}"


def _fixed(gin):
    for thing, parameters in _FIXED.items():
        for name, allowed in parameters.items():
            for scope in ("", "encoder", "decoder"):
                value = gin.get(thing, name, allowed[0], scope)
                if value not in allowed and value != {}:
                    yield f"{thing}.{name}={value!r}: only {allowed[0]!r} is read"
                    break


def _mlp(gin, shape, layout, mistakes):
    """Returns the kind of MLP, and the widths of dense ones and of experts."""
    kinds, widths = set(), {}
    for stack, blocks in layout.scopes.items():
        for i, scopes in enumerate(blocks):
            sparse = i in layout.sparse[stack]
            thing = "MoE1D" if sparse else "DenseReluDense"
            scope = f"{scopes['mlp']}/{thing}"
            names = [f"{scope}/{kernel}/kernel" for kernel in ("wi", "wi_0")]
            found = [name for name in names if name in shape]
            activation = gin.get(thing, "activation", "relu", stack)
            kinds.add((_words(activation), found == names[1:]))
            if found:
                width = shape[found[0]][-1]
                widths.setdefault("sparse" if sparse else "dense", set()).add(width)
    if len(kinds) != 1 or any(len(found) > 1 for found in widths.values()):
        mistakes.append(
            f"activations {sorted(map(str, kinds))} and widths {widths}: all MLPs must "
            "be alike, and so must all experts"
        )
        return models.PlainMlp(), {"dense": 1, "sparse": 1}
    ((words, gated),) = kinds
    widths = {kind: found.pop() for kind, found in widths.items()}
    if gated and (len(words) != 2 or "linear" not in words[1:]):
        mistakes.append(f"activation={list(words)}: gated MLPs end with 'linear'")
    if not gated and len(words) != 1:
        mistakes.append(f"activation={list(words)}: the checkpoint has one wi for it")
    kind = models.GatedMlp if gated else models.PlainMlp
    return kind({"swish": "silu"}.get(words[0], words[0])), widths


def _words(activation):
    """Returns the names of one or several activations."""
    several = activation if isinstance(activation, list | tuple) else [activation]
    return tuple(a.last if isinstance(a, Reference) else str(a) for a in several)


def _sparse(gin, layout, widths, mistakes):
    if not any(layout.sparse.values()):
        return None
    moe = {name: gin.get("MoE1D", name, value) for name, value in _MOE.items()}
    both = [gin.get("MoE1D", name, None, "decoder") for name in _MOE]
    if any(
        a is not None and a != moe[name] for name, a in zip(_MOE, both, strict=True)
    ):
        mistakes.append("MoE1D: differs between encoder and decoder")
    policy = _policy(moe, mistakes)
    placements = {
        stack: placement(layout.sparse[stack], len(blocks), mistakes)
        for stack, blocks in layout.scopes.items()
    }
    if policy is None or mistakes:
        return None
    dense = widths.get("dense", widths["sparse"])
    return models.Sparse(
        moe["num_experts"],
        d_ff=None if widths["sparse"] == dense else widths["sparse"],
        placement=placements["encoder"],
        decoder_placement=placements["decoder"],
        routing=policy,
        groups=MeshTensorFlowGroups(moe["group_size"]),
        expert_dropout_rate=float(moe["dropout_rate"] or 0.0),
    )


def _policy(moe, mistakes):
    gating, train = moe["moe_gating"], moe["switch_policy_train"]
    evaluation = moe["switch_policy_eval"]
    if gating not in _GATINGS:
        mistakes.append(f"MoE1D.moe_gating={gating!r}: known are {', '.join(_GATINGS)}")
        return None
    if train not in _EXPLORATIONS:
        mistakes.append(f"MoE1D.switch_policy_train={train!r}: unknown")
        return None
    if evaluation not in ("argmax", "input_jitter", "input_dropout"):
        mistakes.append(f"MoE1D.switch_policy_eval={evaluation!r}: draws in evaluation")
        return None
    coefficient = moe["loss_coef"]
    options = {
        "capacity": CapacityFactor(
            moe["capacity_factor_train"],
            moe["capacity_factor_eval"],
            moe["min_expert_capacity"],
            at_most_group=False,
        ),
        "padding": "mesh_tensorflow",
        "z_loss_weight": coefficient * (moe["z_loss"] or 0.0),
        "balance_loss_weight": coefficient,
    }
    if gating == "expert_selection":
        return ExpertSelection(**options)
    if gating in ("top_2", "top_n"):
        return _gshard(gating, moe, options, mistakes)
    options["exploration"] = _EXPLORATIONS[train](moe)
    if gating == "ntlb":
        return NoTokenLeftBehind(moe["ntlb_top_k"], **options)
    return Switch(
        priority="probability" if gating == "switch_max" else "position", **options
    )


def _gshard(gating, moe, options, mistakes):
    """Returns the policy of top-2 or top-n gating."""
    seconds = {}
    for mode, name in (("train", "second_policy"), ("eval", "second_policy_eval")):
        kind, threshold = moe[f"second_policy_{mode}"], moe[f"second_threshold_{mode}"]
        if kind not in _SECONDS:
            mistakes.append(f"MoE1D.second_policy_{mode}={kind!r}: unknown")
            return None
        seconds[name] = _SECONDS[kind](threshold)
    if gating == "top_n":
        return GShardTopN(moe["top_n_num_experts_per_token"], **options, **seconds)
    if moe["use_second_place_loss"]:
        options["second_place_loss_weight"] = 0.5 * moe["loss_coef"]
    return GShardTop2(**options, **seconds)
