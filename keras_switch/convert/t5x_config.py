"""The model of a T5X run, from its gin files.

Two kinds of models: T5X's minimal T5 (`network.T5Config`), and flaxformer's MoE models,
which are set by macros (`NUM_EXPERTS`, ...).
"""

from keras_switch import models
from keras_switch.convert import t5x_settings
from keras_switch.convert.errors import refuse
from keras_switch.convert.placements import placement
from keras_switch.dispatch import FlaxformerGroups
from keras_switch.partitioning.mistakes import nearest
from keras_switch.routing import (
    Argmax,
    CapacityFactor,
    ExpertChoice,
    InputJitter,
    Switch,
    TopK,
)

_ROUTERS = (
    "TokensChooseMaskedRouter",
    "TokensChooseScatterRouter",
    "ExpertsChooseMaskedRouter",
)
LAYOUTS = {
    "MIXED": models.Mixed,
    "BOTTOM": models.Bottom,
    "MIDDLE": models.Middle,
    "TOP": models.Top,
}
_MINIMAL = {
    *("vocab_size", "dtype", "emb_dim", "num_heads", "num_encoder_layers"),
    *("num_decoder_layers", "head_dim", "mlp_dim", "mlp_activations", "dropout_rate"),
    *("logits_via_embedding", "float32_attention_logits", "remat_policy"),
    *("scan_layers", "param_scan_axis"),
}


def from_t5x(gin, sentinels=0) -> models.ModelConfig:
    """Returns our config of a run.

    Args:
        gin: `GinText` of its config.
        sentinels: sentinels of the vocabulary.

    Raises:
        ConversionError: naming everything that is missing or has no counterpart here.
    """
    minimal = gin.parameters("T5Config")
    mistakes = [
        f"T5Config.{name}: unknown; nearest known is {nearest(name, _MINIMAL)}"
        for name in sorted(minimal - _MINIMAL)
    ]
    if not minimal:
        mistakes += t5x_settings.mistakes(gin)
    config = _Minimal(gin, mistakes) if minimal else _Flaxformer(gin, mistakes)
    fields = config.fields()
    refuse(f"{gin.source} cannot be translated", mistakes)
    return models.ModelConfig(num_sentinels=sentinels, **fields)


class _Minimal:
    """T5X's `examples/t5` and `examples/scalable_t5`."""

    def __init__(self, gin, mistakes):
        self._gin, self._mistakes = gin, mistakes

    def _get(self, name, default=None):
        value = self._gin.get("T5Config", name, default)
        if value is None:
            self._mistakes.append(f"T5Config.{name}: missing")
        return value

    def fields(self):
        return {
            "vocab_size": self._get("vocab_size"),
            "d_model": self._get("emb_dim", 512),
            "d_ff": self._get("mlp_dim", 2048),
            "d_kv": self._get("head_dim", 64),
            "num_heads": self._get("num_heads", 8),
            "num_layers": self._get("num_encoder_layers", 6),
            "num_decoder_layers": self._get("num_decoder_layers", 6),
            "mlp": mlp(self._get("mlp_activations", ("relu",)), self._mistakes),
            # A run sets it; a config of a model alone leaves it open.
            "dropout_rate": self._gin.get("T5Config", "dropout_rate") or 0.0,
            "tie_embeddings": self._get("logits_via_embedding", False),
        }


class _Flaxformer:
    """flaxformer's `configs/moe`."""

    def __init__(self, gin, mistakes):
        self._gin, self._mistakes = gin, mistakes

    def _get(self, name, default=None):
        value = self._gin.macro(name, default)
        if value is None:
            self._mistakes.append(f"{name}: missing")
        return value

    def fields(self):
        gin, mistakes = self._gin, self._mistakes
        dropout = self._get("DROPOUT_RATE", 0.0)
        bias = "RelativePositionBiases"
        logits = gin.get("SparseDecoder", "output_logits_factory")
        return {
            "vocab_size": self._get("NUM_EMBEDDINGS"),
            "d_model": self._get("EMBED_DIM"),
            "d_ff": self._get("MLP_DIM"),
            "d_kv": self._get("HEAD_DIM"),
            "num_heads": self._get("NUM_HEADS"),
            "num_layers": self._get("NUM_ENCODER_LAYERS"),
            "num_decoder_layers": self._get("NUM_DECODER_LAYERS"),
            "mlp": mlp(gin.get("MlpBlock", "activations"), mistakes),
            "position": models.RelativePosition(
                gin.get(bias, "num_buckets", 32), gin.get(bias, "max_distance", 128)
            ),
            "dropout_rate": dropout,
            "tie_embeddings": logits is None,
            "sparse": self._sparse(dropout),
        }

    def _sparse(self, dropout):
        gin, mistakes = self._gin, self._mistakes
        experts = self._get("NUM_EXPERTS")
        width, dense = gin.macro("EXPERT_MLP_DIM"), gin.macro("MLP_DIM")
        every = {
            stack: self._placement(stack.upper()) for stack in ("encoder", "decoder")
        }
        activations = gin.get("MlpBlock", "activations", scope="expert")
        if mlp(activations, mistakes) != mlp(gin.get("MlpBlock", "activations"), []):
            mistakes.append(
                f"expert/MlpBlock.activations={activations!r}: experts must be of the "
                "kind of the dense MLPs"
            )
        policies = {stack: self._policy(stack) for stack in ("encoder", "decoder")}
        if mistakes:
            return None
        same = policies["encoder"] == policies["decoder"]
        return models.Sparse(
            experts,
            d_ff=None if width in (None, dense) else width,
            placement=every["encoder"],
            decoder_placement=every["decoder"],
            routing=policies["encoder"],
            decoder_routing=None if same else policies["decoder"],
            groups=FlaxformerGroups(self._get("GROUP_SIZE", 4096), experts),
            expert_dropout_rate=gin.macro("EXPERT_DROPOUT_RATE", dropout),
            router=models.RouterOptions(
                use_bias=bool(gin.get("RouterWeights", "use_bias", False))
            ),
            layer_losses=models.LayerMean(),
            extra_mlp=self._extra(),
        )

    def _placement(self, stack):
        depth = self._get(f"NUM_{stack}_LAYERS")
        count = self._get(f"NUM_{stack}_SPARSE_LAYERS", depth)
        layout = self._get(f"{stack}_SPARSE_LAYOUT", "MIXED")
        if layout not in LAYOUTS or None in (depth, count):
            self._mistakes.append(
                f"{stack}_SPARSE_LAYOUT={layout!r}: known are {', '.join(LAYOUTS)}"
            )
            return None
        if count == 0:
            return models.NoLayers()
        try:
            layers = LAYOUTS[layout](count).layers(depth)
        except ValueError as error:
            self._mistakes.append(f"NUM_{stack}_SPARSE_LAYERS={count}: {error}")
            return None
        return placement(layers, depth, self._mistakes)

    def _policy(self, stack):
        scope = f"sparse_{stack}"
        router = self._gin.get("MoeLayer", "router", scope=scope)
        kind = getattr(router, "last", "TokensChooseMaskedRouter")
        if kind not in _ROUTERS:
            self._mistakes.append(f"{scope}/MoeLayer.router={kind}: unknown")
            return None

        def get(name, default):
            return self._gin.get(kind, name, default, scope)

        options = self._options(kind, get)
        if kind == "ExpertsChooseMaskedRouter":
            return ExpertChoice(**options)
        options["balance_loss_weight"] = self._get("AUX_LOSS_FACTOR", 0.01)
        if get("batch_prioritized_routing", False):
            options["priority"] = "probability"
        selected = self._get("NUM_SELECTED_EXPERTS", 1)
        if selected == 1:
            return Switch(**options)
        return TopK(selected, balance_over="all", **options)

    def _options(self, kind, get):
        jitter = self._get("JITTER_NOISE", 0.0)
        padding = "flaxformer"
        if get("ignore_padding_tokens", False):
            padding = "flaxformer_ignore"
            if kind == "TokensChooseScatterRouter":
                padding = "flaxformer_scatter_ignore"
        return {
            "capacity": CapacityFactor(
                self._get("TRAIN_EXPERT_CAPACITY_FACTOR", 1.0),
                self._get("EVAL_EXPERT_CAPACITY_FACTOR", 1.0),
                self._gin.get("MoeLayer", "min_expert_capacity", 4),
                rounding="round",
                at_most_group=False,
            ),
            "padding": padding,
            "exploration": InputJitter(jitter) if jitter else Argmax(),
            "z_loss_weight": self._get("ROUTER_Z_LOSS_FACTOR", 0.0),
        }

    def _extra(self):
        extra = self._gin.get("SparseEncoderLayer", "extra_mlp")
        if extra is None:
            return None
        return mlp(self._gin.get("MlpBlock", "activations"), self._mistakes)


def mlp(activations, mistakes):
    """Returns the kind of MLP of flax's list of activations."""
    words = [activations] if isinstance(activations, str) else list(activations or ())
    words = [{"swish": "silu"}.get(word, word) for word in words]
    if len(words) == 1:
        return models.PlainMlp(words[0])
    if len(words) == 2 and words[1] == "linear":
        return models.GatedMlp(words[0])
    mistakes.append(
        f"activations={activations!r}: one, or one and 'linear', are understood"
    )
    return models.PlainMlp()
