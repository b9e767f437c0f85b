"""Gin files of our models for T5X: its minimal T5, and flaxformer's MoE models."""

from keras_switch import models
from keras_switch.convert.errors import refuse
from keras_switch.convert.t5x_config import LAYOUTS
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.models.config import ENCODER_DECODER
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    ExpertChoice,
    InputJitter,
    Switch,
    TopK,
)


def to_t5x(config: models.ModelConfig) -> tuple[str, list[str]]:
    """Returns a gin file of a model for T5X, and what it cannot say.

    Raises:
        ConversionError: naming every part that T5X's models have no counterpart of.
    """
    refuse("T5X cannot run this model", _foreign(config))
    if config.sparse is None:
        return _minimal_gin(config), []
    notes = []
    return _flaxformer_gin(config, notes), notes


def _foreign(config):
    if config.architecture != ENCODER_DECODER:
        yield f"architecture={config.architecture!r}: it needs an encoder-decoder"
        return
    position = config.position
    if not isinstance(position, models.RelativePosition):
        yield f"position={position}: it has relative biases alone"
    elif config.sparse is None and position != models.RelativePosition():
        yield f"position={position}: its dense models have {models.RelativePosition()}"
    if not isinstance(config.mixer, models.SelfAttention):
        yield f"mixer={config.mixer}: its encoders attend"
    if config.num_kv_heads not in (None, config.num_heads):
        yield f"num_kv_heads={config.num_kv_heads}: it has one per query head"
    if config.layer_norm_epsilon != 1e-6:
        yield f"layer_norm_epsilon={config.layer_norm_epsilon}: it has 1e-6"
    if config.sparse is None:
        return
    policies = [config.routing(stack) for stack in config.stacks]
    choices = {p.num_choices for p in policies if not isinstance(p, ExpertChoice)}
    if len(choices) > 1:
        yield f"tokens choose {sorted(choices)} experts: it has one number for all"
    for stack in config.stacks:
        if _layout(config, stack) is None:
            yield (
                f"sparse layers {config.sparse_layers(stack)} of the {stack}: it has "
                f"the layouts {', '.join(LAYOUTS)}"
            )
        policy = config.routing(stack)
        known = isinstance(policy, Switch | TopK | ExpertChoice)
        if not known or getattr(policy, "renormalize", False):
            yield f"routing of the {stack} is {policy}: it has none like it"


def _layout(config, stack):
    """Returns name and number of sparse layers of a stack, or `None`."""
    wanted, depth = config.sparse_layers(stack), config.depth(stack)
    if not wanted:
        return "MIXED", 0
    for name, rule in LAYOUTS.items():
        try:
            if rule(len(wanted)).layers(depth) == wanted:
                return name, len(wanted)
        except ValueError:
            continue
    return None


def _minimal_gin(config):
    return f"""\
from __gin__ import dynamic_registration
from t5x.examples.t5 import network

network.Transformer.config = @network.T5Config()
network.T5Config:
  vocab_size = {config.vocab_size}
  dtype = 'bfloat16'
  emb_dim = {config.d_model}
  num_heads = {config.num_heads}
  num_encoder_layers = {config.num_layers}
  num_decoder_layers = {config.depth("decoder")}
  head_dim = {config.d_kv}
  mlp_dim = {config.d_ff}
  mlp_activations = {_activations(config)!r}
  dropout_rate = {config.dropout_rate}
  logits_via_embedding = {config.tie_embeddings}
"""


def _activations(config):
    words = (config.mlp.activation,)
    return (*words, "linear") if isinstance(config.mlp, models.GatedMlp) else words


def _flaxformer_gin(config, notes):
    sparse, policy = config.sparse, config.routing("encoder")
    layouts = {stack: _layout(config, stack) for stack in config.stacks}
    lines = [_IMPORTS]
    macros = {
        "NUM_ENCODER_LAYERS": config.num_layers,
        "NUM_DECODER_LAYERS": config.depth("decoder"),
        "NUM_HEADS": config.num_heads,
        "HEAD_DIM": config.d_kv,
        "EMBED_DIM": config.d_model,
        "MLP_DIM": config.d_ff,
        "EXPERT_MLP_DIM": sparse.d_ff or config.d_ff,
        "NUM_EXPERTS": sparse.num_experts,
        "NUM_ENCODER_SPARSE_LAYERS": layouts["encoder"][1],
        "NUM_DECODER_SPARSE_LAYERS": layouts["decoder"][1],
        "NUM_EMBEDDINGS": config.vocab_size,
        "NUM_SELECTED_EXPERTS": config.routing("decoder").num_choices,
        **_routing_macros(config, policy, notes),
        "DROPOUT_RATE": config.dropout_rate,
        "EXPERT_DROPOUT_RATE": sparse.expert_dropout_rate,
    }
    lines += [f"{name} = {value}" for name, value in macros.items()]
    lines += [
        f"{stack.upper()}_SPARSE_LAYOUT = %moe_enums.LayerLayout.{layout}"
        for stack, (layout, _) in layouts.items()
    ]
    return "\n".join([*lines, *_bindings(config)]) + "\n"


_IMPORTS = """\
from __gin__ import dynamic_registration
from flaxformer.architectures.moe import moe_architecture
from flaxformer.architectures.moe import moe_enums
from flaxformer.architectures.moe import moe_layers
from flaxformer.architectures.moe import routing
from flaxformer.components import dense
from flaxformer.components import relative_position_biases

include 'flaxformer/t5x/configs/moe/models/switch_base.gin'
"""


def _routing_macros(config, policy, notes):
    sparse, exploration = config.sparse, policy.exploration
    layers = sum(len(config.sparse_layers(stack)) for stack in config.stacks)
    share = round(sparse.layer_losses.share(layers) * layers, 9)
    if not isinstance(exploration, InputJitter | Argmax):
        notes.append(f"{exploration} is written as no router jitter")
    capacity = policy.capacity
    if not isinstance(capacity, CapacityFactor):
        factor = capacity.size * sparse.num_experts / 512
        capacity = CapacityFactor(factor, factor, 1)
        notes.append(
            f"{policy.capacity} becomes capacity factors of {factor}, the same for "
            "groups of 512 tokens: T5X has no fixed capacity"
        )
    groups = sparse.groups
    size = getattr(groups, "max_size", getattr(groups, "size", 512))
    if not isinstance(groups, FlaxformerGroups):
        notes.append(f"{groups} becomes GROUP_SIZE={size}: T5X has its own rule")
    return {
        "TRAIN_EXPERT_CAPACITY_FACTOR": capacity.train,
        "EVAL_EXPERT_CAPACITY_FACTOR": capacity.eval,
        "moe_layers.MoeLayer.min_expert_capacity": capacity.minimum,
        "GROUP_SIZE": size,
        "JITTER_NOISE": exploration.eps
        if isinstance(exploration, InputJitter)
        else 0.0,
        "AUX_LOSS_FACTOR": _balance(config) * share,
        "ROUTER_Z_LOSS_FACTOR": policy.z_loss_weight * share,
    }


def _balance(config):
    """Returns the weight of the balance loss; experts that choose have none."""
    policies = [config.routing(stack) for stack in config.stacks]
    return max(getattr(policy, "balance_loss_weight", 0.0) for policy in policies)


def _bindings(config):
    activations, position = _activations(config), config.position
    yield f"dense.MlpBlock.activations = {activations!r}"
    yield f"expert/dense.MlpBlock.activations = {activations!r}"
    factory = "None" if config.tie_embeddings else "@output_logits/dense.DenseGeneral"
    yield f"moe_architecture.SparseDecoder.output_logits_factory = {factory}"
    bias = "relative_position_biases.RelativePositionBiases"
    yield f"{bias}.num_buckets = {position.num_buckets}"
    yield f"{bias}.max_distance = {position.max_distance}"
    yield f"routing.RouterWeights.use_bias = {config.sparse.router.use_bias}"
    if config.sparse.extra_mlp:
        for layer in ("SparseEncoderLayer", "SparseDecoderLayer"):
            yield f"moe_architecture.{layer}.extra_mlp = @dense.MlpBlock()"
    for stack in config.stacks:
        yield from _router_bindings(stack, config.routing(stack))


def _router_bindings(stack, policy):
    scope, ignore = f"sparse_{stack}", policy.padding.endswith("ignore")
    kind = "TokensChooseMaskedRouter"
    if policy.padding == "flaxformer_scatter_ignore":
        kind = "TokensChooseScatterRouter"
    if isinstance(policy, ExpertChoice):
        kind = "ExpertsChooseMaskedRouter"
    else:
        first = policy.priority == "probability"
        yield f"{scope}/routing.{kind}.batch_prioritized_routing = {first}"
    yield f"{scope}/moe_layers.MoeLayer.router = @{scope}/routing.{kind}()"
    # Padding that is not routed at all is nearest to padding that is ignored.
    ignore |= policy.padding in ("masked", "mesh_tensorflow")
    yield f"{scope}/routing.{kind}.ignore_padding_tokens = {ignore}"
