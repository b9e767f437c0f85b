"""Hugging Face's `config.json` of T5, mT5 and Switch Transformers, both ways."""

from keras_switch import models
from keras_switch.convert.errors import ConversionError, refuse
from keras_switch.convert.keys import Keys
from keras_switch.dispatch import BySequence
from keras_switch.models.config import ENCODER_DECODER
from keras_switch.routing import Argmax, FixedCapacity, InputJitter, Switch, TopK

SWITCH, T5, MT5 = "switch_transformers", "t5", "mt5"
FAMILIES = (SWITCH, T5, MT5)
# Theirs by ours; "gelu" there is the exact one, "gelu_new" the approximation by tanh.
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu_new", "silu": "silu", "tanh": "tanh"}
_OURS = {theirs: ours for ours, theirs in _ACTIVATIONS.items()} | {"swish": "silu"}
# Settings of generation, of heads for other tasks, and of the library's own affairs.
_NEUTRAL = (
    *("_attn_implementation", "_commit_hash", "_name_or_path", "add_router_probs"),
    *("architectures", "bad_words_ids", "begin_suppress_tokens", "bos_token_id"),
    *("chunk_size_feed_forward", "classifier_dropout", "decoder_start_token_id"),
    *("diversity_penalty", "do_sample", "dtype", "early_stopping", "eos_token_id"),
    *("encoder_no_repeat_ngram_size", "exponential_decay_length_penalty"),
    *("finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "id2label"),
    *("initializer_factor", "label2id", "length_penalty", "max_length", "min_length"),
    *("model_type", "n_positions", "no_repeat_ngram_size", "num_beam_groups"),
    *("num_beams", "num_return_sequences", "output_attentions", "output_past"),
    *("output_hidden_states", "output_router_logits", "output_scores"),
    *(
        "pad_token_id",
        "prefix",
        "problem_type",
        "pruned_heads",
        "remove_invalid_values",
    ),
    *("repetition_penalty", "return_dict", "return_dict_in_generate", "router_dtype"),
    *("router_ignore_padding_tokens", "sep_token_id", "suppress_tokens"),
    *("task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder"),
    *("tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript"),
    *("transformers_version", "typical_p", "use_bfloat16", "use_cache"),
    *("gradient_checkpointing", "transformers.js_config"),
)


def family(values: dict, source: str) -> str:
    """Returns the family that a `config.json` is of.

    Raises:
        ConversionError: if it is another than T5, mT5 or Switch Transformers.
    """
    kind = values.get("model_type")
    if kind not in FAMILIES:
        raise ConversionError(
            f"{source} describes a {kind!r} model: give one of the families "
            f"{', '.join(FAMILIES)}."
        )
    return kind


def from_hugging_face(values: dict, source="config.json", sentinels=0):
    """Returns our config of a `config.json`.

    Hugging Face routes each sequence by itself, with a fixed number of places for each
    expert. It takes auxiliary losses of all layers of a stack at once; the nearest
    here is their mean over layers, and the sum of both stacks.

    Args:
        values: contents of the file.
        source: its name, for messages.
        sentinels: sentinels of the tokenizer.

    Raises:
        ConversionError: naming every setting that is missing, unknown, or of a value
            that has no counterpart.
    """
    kind, keys = family(values, source), Keys(values, source)
    keys.skip(*_NEUTRAL)
    keys.must_be("is_encoder_decoder", True, why="only encoder-decoders are read")
    keys.must_be("is_decoder", False, why="only encoder-decoders are read")
    keys.must_be("add_cross_attention", False, why="only encoder-decoders are read")
    fields = {name: keys.take(name, kind=int) for name in _SIZES}
    depth = keys.take("num_decoder_layers", fields["num_layers"], (int, type(None)))
    tied = keys.take("tie_word_embeddings", True, bool)
    scaled = keys.take("scale_decoder_outputs", tied, bool)
    mlp = _mlp(keys)
    position = models.RelativePosition(
        keys.take("relative_attention_num_buckets", 32, int) or 32,
        keys.take("relative_attention_max_distance", 128, int) or 128,
    )
    dropout = keys.take("dropout_rate", 0.1, (int, float))
    epsilon = keys.take("layer_norm_epsilon", 1e-6, float)
    layers = {"encoder": fields["num_layers"], "decoder": depth or fields["num_layers"]}
    sparse = _sparse(keys, layers, dropout) if kind == SWITCH else None
    if sparse is not None and isinstance(mlp, models.GatedMlp):
        keys.mistakes.append("is_gated_act: transformers knows no gated experts")
    keys.finish()
    return models.ModelConfig(
        **fields,
        num_sentinels=sentinels,
        num_decoder_layers=depth,
        mlp=mlp,
        position=position,
        sparse=sparse,
        dropout_rate=dropout,
        layer_norm_epsilon=epsilon,
        tie_embeddings=tied and scaled,
    )


_SIZES = ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads", "num_layers")


def _mlp(keys):
    """Returns the kind of MLP; `feed_forward_proj` goes before what it implies."""
    name = keys.take("dense_act_fn", "relu")
    gated = keys.take("is_gated_act", False, bool)
    words = keys.take("feed_forward_proj", None)
    if isinstance(words, str):
        gated, name = words.startswith("gated-"), words.removeprefix("gated-")
        name = "gelu_new" if words == "gated-gelu" else name
    if name not in _OURS:
        keys.mistakes.append(
            f"dense_act_fn={name!r}: known activations are {', '.join(_OURS)}"
        )
        return models.PlainMlp()
    return (models.GatedMlp if gated else models.PlainMlp)(_OURS[name])


def _sparse(keys, layers, dropout):
    keys.must_be("num_selected_experts", 1, why="transformers runs top-1 alone")
    keys.must_be("router_type", "tokens_masked", why="transformers has no other")
    keys.must_be("batch_prioritized_routing", False, why="transformers never does it")
    experts = keys.take("num_experts", kind=int)
    capacity = keys.take("expert_capacity", 64, int)
    jitter = keys.take("router_jitter_noise", 0.01, (int, float))
    z_loss = keys.take("router_z_loss_coef", 0.001, (int, float))
    balance = keys.take("router_aux_loss_coef", 0.001, (int, float))
    steps = {stack: _step(keys, stack, depth) for stack, depth in layers.items()}
    bias = keys.take("router_bias", False, bool)
    if keys.mistakes:
        return None
    return models.Sparse(
        experts,
        placement=models.HuggingFace(steps["encoder"]),
        decoder_placement=models.HuggingFace(steps["decoder"]),
        routing=Switch(
            capacity=FixedCapacity(capacity),
            exploration=InputJitter(jitter) if jitter else Argmax(),
            balance_loss_weight=len(layers) * balance,
            z_loss_weight=len(layers) * z_loss,
        ),
        groups=BySequence(),
        expert_dropout_rate=dropout,
        router=models.RouterOptions(use_bias=bias),
        layer_losses=models.LayerMean(),
    )


def _step(keys, stack, depth):
    """Returns the distance of sparse layers, as transformers derives it."""
    count = keys.take(f"num_sparse_{stack}_layers", 3, int)
    if count is None or depth is None:
        return 1
    return keys.take(f"{stack}_sparse_step", depth // count if count else depth, int)


def to_hugging_face(config: models.ModelConfig) -> tuple[dict, list[str]]:
    """Returns the `config.json` of a model, and what it cannot say.

    Raises:
        ConversionError: naming every part of the config that transformers has no
            counterpart of.
    """
    refuse("Hugging Face's transformers cannot run this model", _foreign(config))
    notes = []
    values = {name: getattr(config, name) for name in _SIZES}
    values |= {
        "model_type": SWITCH if config.sparse else T5,
        "num_decoder_layers": config.depth("decoder"),
        "dropout_rate": config.dropout_rate,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "tie_word_embeddings": config.tie_embeddings,
        "relative_attention_num_buckets": config.position.num_buckets,
        "relative_attention_max_distance": config.position.max_distance,
        **{"is_encoder_decoder": True, "use_cache": True, "dtype": "float32"},
        **{"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0},
    }
    activation = _ACTIVATIONS[config.mlp.activation]
    if config.sparse:
        name = "SwitchTransformersForConditionalGeneration"
        values |= {"dense_act_fn": activation, **_sparse_values(config, notes)}
    else:
        name = "T5ForConditionalGeneration"
        gated = isinstance(config.mlp, models.GatedMlp)
        if gated and activation == "gelu_new":
            activation = "gelu"  # "gated-gelu" means the approximation
        values["feed_forward_proj"] = "gated-" * gated + activation
        values["scale_decoder_outputs"] = config.tie_embeddings
    return {"architectures": [name], **values}, notes


def _foreign(config):
    """Yields what transformers cannot say."""
    if config.architecture != ENCODER_DECODER:
        yield f"architecture={config.architecture!r}: it needs an encoder-decoder"
        return
    if not isinstance(config.position, models.RelativePosition):
        yield f"position={config.position}: it has relative biases alone"
    if not isinstance(config.mixer, models.SelfAttention):
        yield f"mixer={config.mixer}: its encoders attend"
    if config.num_kv_heads not in (None, config.num_heads):
        yield f"num_kv_heads={config.num_kv_heads}: it has one per query head"
    if config.mlp.activation not in _ACTIVATIONS:
        yield f"{config.mlp}: known activations are {', '.join(_ACTIVATIONS)}"
    if config.sparse:
        yield from _foreign_sparse(config)


def _foreign_sparse(config):
    sparse = config.sparse
    if isinstance(config.mlp, models.GatedMlp):
        yield f"mlp={config.mlp}: its sparse models have no gated MLP"
    if sparse.d_ff not in (None, config.d_ff):
        yield f"sparse.d_ff={sparse.d_ff}: it must be that of dense layers"
    if sparse.extra_mlp:
        yield "sparse.extra_mlp: it has none"
    for stack in config.stacks:
        policy = config.routing(stack)
        raw = isinstance(policy, TopK) and policy.k == 1 and not policy.renormalize
        if not (isinstance(policy, Switch) or raw):
            yield f"routing of the {stack} is {policy}: it has Switch() alone"
        elif policy.priority != "position":
            yield f"routing of the {stack}: it serves tokens by position alone"
        if _count_for(config, stack) is None:
            yield (
                f"sparse layers {config.sparse_layers(stack)} of the {stack}: it "
                "makes those sparse whose number has a remainder of 1 by "
                "num_layers // num_sparse_layers"
            )


def _count_for(config, stack):
    """Returns `num_sparse_*_layers` that gives the sparse layers, or `None`."""
    depth, wanted = config.depth(stack), config.sparse_layers(stack)
    for count in range(1, depth + 1):
        step = depth // count
        placed = tuple(i for i in range(depth) if step == 1 or i % step == 1)
        if placed == wanted:
            return count
    return None


def _sparse_values(config, notes):
    sparse, policy = config.sparse, config.routing("encoder")
    counts = {stack: _count_for(config, stack) for stack in config.stacks}
    layers = sum(len(config.sparse_layers(stack)) for stack in config.stacks)
    # From weights per layer to one per stack, over the mean of its layers.
    share = sparse.layer_losses.share(layers) * layers / len(config.stacks)
    share = round(share, 9)  # 1 / n * n is not always 1
    exploration = policy.exploration
    jitter = exploration.eps if isinstance(exploration, InputJitter) else 0.0
    if not isinstance(exploration, InputJitter | Argmax):
        notes.append(f"{exploration} is written as no router jitter")
    if sparse.expert_dropout_rate != config.dropout_rate:
        notes.append(
            f"expert_dropout_rate={sparse.expert_dropout_rate} becomes dropout_rate="
            f"{config.dropout_rate}: transformers has one rate for both"
        )
    return {
        "num_experts": sparse.num_experts,
        "expert_capacity": _fixed_capacity(config, policy, notes),
        "router_bias": sparse.router.use_bias,
        "router_jitter_noise": jitter,
        "router_aux_loss_coef": policy.balance_loss_weight * share,
        "router_z_loss_coef": policy.z_loss_weight * share,
        "router_dtype": "float32",
        **{f"num_sparse_{stack}_layers": n for stack, n in counts.items()},
        **{
            f"{stack}_sparse_step": config.depth(stack) // n
            for stack, n in counts.items()
        },
    }


def _fixed_capacity(config, policy, notes, length=512):
    if isinstance(policy.capacity, FixedCapacity):
        return policy.capacity.size
    rows = policy.rows(length, config.sparse.num_experts, training=False)
    notes.append(
        f"{policy.capacity} becomes expert_capacity={rows}, its value for sequences of "
        f"{length} tokens: transformers has a fixed number of places per expert"
    )
    return rows
