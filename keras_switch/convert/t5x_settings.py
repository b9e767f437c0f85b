"""What is said of flaxformer's MoE models besides the macros that are translated.

A run may bind a class itself, or write a macro wrongly; neither is passed over.
"""

import difflib

from keras_switch.partitioning.mistakes import nearest

_LIKE = 0.85  # from here on a macro is taken for a misspelt one
MACROS = {
    *("NUM_ENCODER_LAYERS", "NUM_DECODER_LAYERS", "NUM_HEADS", "HEAD_DIM", "EMBED_DIM"),
    *("MLP_DIM", "EXPERT_MLP_DIM", "NUM_EXPERTS", "NUM_EMBEDDINGS", "GROUP_SIZE"),
    *("NUM_ENCODER_SPARSE_LAYERS", "NUM_DECODER_SPARSE_LAYERS"),
    *("ENCODER_SPARSE_LAYOUT", "DECODER_SPARSE_LAYOUT", "NUM_SELECTED_EXPERTS"),
    *("TRAIN_EXPERT_CAPACITY_FACTOR", "EVAL_EXPERT_CAPACITY_FACTOR", "JITTER_NOISE"),
    *("AUX_LOSS_FACTOR", "ROUTER_Z_LOSS_FACTOR", "DROPOUT_RATE", "EXPERT_DROPOUT_RATE"),
}
_CHOICE = {"num_selected_experts": "NUM_SELECTED_EXPERTS"}
_JITTER = {"jitter_noise": "JITTER_NOISE"}
# Parameters that the published files set by a macro, which is what is read.
_BY_MACRO = {
    "MoeLayer": {
        "num_experts": "NUM_EXPERTS",
        "max_group_size": "GROUP_SIZE",
        "train_capacity_factor": "TRAIN_EXPERT_CAPACITY_FACTOR",
        "eval_capacity_factor": "EVAL_EXPERT_CAPACITY_FACTOR",
    },
    "TokensChooseMaskedRouter": {**_CHOICE, **_JITTER},
    "TokensChooseScatterRouter": {**_CHOICE, **_JITTER},
    "ExpertsChooseMaskedRouter": _JITTER,
    "SparseEncoder": {
        "num_layers": "NUM_ENCODER_LAYERS",
        "num_sparse_layers": "NUM_ENCODER_SPARSE_LAYERS",
        "sparse_layout": "ENCODER_SPARSE_LAYOUT",
    },
    "SparseDecoder": {
        "num_layers": "NUM_DECODER_LAYERS",
        "num_sparse_layers": "NUM_DECODER_SPARSE_LAYERS",
        "sparse_layout": "DECODER_SPARSE_LAYOUT",
    },
    "MultiHeadDotProductAttention": {"num_heads": "NUM_HEADS", "head_dim": "HEAD_DIM"},
    "RelativePositionBiases": {"num_heads": "NUM_HEADS"},
    "Embed": {"num_embeddings": "NUM_EMBEDDINGS", "features": "EMBED_DIM"},
    "MlpBlock": {"intermediate_dim": "MLP_DIM"},
}
_OF_EXPERTS = {"MLP_DIM": "EXPERT_MLP_DIM"}  # in the scope of that name
# What another value would make another model of.
_FIXED = {
    "MoeLayer": {"strict_group_size": (False,)},
    "MlpBlock": {
        **{"use_bias": (False,), "out_dim": (None,), "fuse_kernels": (False,)},
        **{"intermediate_conv": (None,), "precomputed_intermediates": (False,)},
    },
    "MultiHeadDotProductAttention": {
        **{"use_bias": (False,), "rescale_logits": (False,), "q_conv": (None,)},
        **{"use_extra_logit": (False,), "use_rotary_embedding": (False,)},
        **{"k_conv": (None,), "v_conv": (None,), "kernels_to_fuse": (None,)},
    },
    **{
        f"{kind}{stack}Layer": {"parallel": (False,)}
        for kind in ("", "Sparse")
        for stack in ("Encoder", "Decoder")
    },
    "T5LayerNorm": {"epsilon": (1e-6,)},
}
_ROUTER = {"router_weights", "jitter_noise", "dtype", "ignore_padding_tokens"}
_TOKENS = {*_ROUTER, "num_selected_experts", "batch_prioritized_routing"}
# All parameters of the classes that make experts.
_PARAMETERS = {
    "MoeLayer": {
        *("expert", "router", "num_expert_partitions", "num_model_partitions"),
        *("min_expert_capacity", "dropout_rate", "dtype", "split_params", "precision"),
        *("input_hidden_dims_axes", "output_hidden_dims_axes"),
        "optimize_model_parallel_communications",
    },
    "TokensChooseMaskedRouter": _TOKENS,
    "TokensChooseScatterRouter": _TOKENS,
    "ExpertsChooseMaskedRouter": _ROUTER,
    "RouterWeights": {
        *("use_bias", "dtype", "kernel_init", "bias_init", "precision", "axis"),
        *("kernel_axis_names", "reshape_kernel"),
    },
    "RelativePositionBiases": {
        *("num_buckets", "max_distance", "dtype", "embedding_init"),
        *("head_axis_name", "on_device_computation"),
    },
}


def mistakes(gin):
    """Yields what a config says that has no counterpart here, or is unknown.

    Args:
        gin: `GinText`.
    """
    for name in gin.names():
        if name.isupper() and name not in MACROS and _is_near(name):
            yield f"{name}: unknown; nearest known is {nearest(name, MACROS)}"
    for thing, free in _PARAMETERS.items():
        known = free | set(_BY_MACRO.get(thing, ())) | set(_FIXED.get(thing, ()))
        for name in sorted(gin.parameters(thing) - known):
            yield f"{thing}.{name}: unknown; nearest known is {nearest(name, known)}"
    for thing, parameters in _FIXED.items():
        for name, allowed in parameters.items():
            for value in gin.everywhere(thing, name).values():
                if value not in allowed:
                    yield f"{thing}.{name}={value!r}: only {allowed[0]!r} is read"
    for thing, parameters in _BY_MACRO.items():
        for name, macro in parameters.items():
            yield from _other_than_macro(gin, thing, name, macro)


def _is_near(name):
    return bool(difflib.get_close_matches(name, MACROS, 1, _LIKE))


def _other_than_macro(gin, thing, name, macro):
    for scope, value in gin.everywhere(thing, name).items():
        own = _OF_EXPERTS.get(macro, macro) if scope == "expert" else macro
        if value != gin.macro(own):
            yield f"{thing}.{name}={value!r}: say it by the macro, {own} = {value!r}"
