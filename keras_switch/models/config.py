"""What a model is, as data: sizes, parts, and which layers hold experts.

No layer is made here; `assembly.py` makes them.
"""

from keras_switch.dispatch import BySequence, GatherDispatch
from keras_switch.models.checks import (
    below,
    not_instances,
    not_rates,
    unknown_activation,
)
from keras_switch.models.lora import Lora
from keras_switch.models.parts import (
    Fourier,
    GatedMlp,
    Parallel,
    Part,
    PlainMlp,
    RelativePosition,
    RotaryPosition,
    SelfAttention,
    Serial,
    part,
)
from keras_switch.models.placement import Odd, Placement
from keras_switch.partitioning.mistakes import nearest, refuse
from keras_switch.routing import Policy, Switch

ENCODER_DECODER = "encoder-decoder"
DECODER_ONLY = "decoder-only"
ENCODER_ONLY = "encoder-only"
_STACKS = {
    ENCODER_DECODER: ("encoder", "decoder"),
    DECODER_ONLY: ("decoder",),
    ENCODER_ONLY: ("encoder",),
}


@part
class LayerSum(Part):
    """Auxiliary losses of all sparse layers are added, as in Mesh TensorFlow."""

    def share(self, num_layers: int) -> float:
        """Returns the factor of each layer's losses."""
        return 1.0


@part
class LayerMean(Part):
    """Auxiliary losses are averaged over all sparse layers, as in T5X."""

    def share(self, num_layers: int) -> float:
        """Returns the factor of each layer's losses."""
        return 1.0 / num_layers


@part
class RouterOptions(Part):
    """What a router's weights look like.

    Args:
        use_bias: whether logits get a bias per expert.
        init_scale: of the kernel's initializer; `None` takes the model's.
    """

    use_bias: bool = False
    init_scale: float | None = None


@part
class Sparse(Part):
    """The sparse layers of a model.

    Args:
        num_experts: experts of a layer.
        d_ff: width of one expert; `None` takes the model's.
        placement: which layers are sparse.
        decoder_placement: the same for the decoder of an encoder-decoder; `None` takes
            `placement`.
        routing: policy that sends tokens to experts.
        decoder_routing: policy of causal layers; `None` takes `routing`. Experts that
            choose tokens see the future, so a decoder needs another policy then.
        dispatch: how tokens travel to experts and back.
        eval_dispatch: the same out of training; `None` takes `dispatch`. `generate`
            drops no token unless this says otherwise.
        groups: how a batch becomes routing groups.
        expert_dropout_rate: dropout inside the experts (paper: 0.4 in fine-tuning,
            arXiv:2101.03961, table 4).
        router: options of the router's weights.
        layer_losses: how auxiliary losses of several layers add up.
        extra_mlp: a dense MLP as a further sublayer after each sparse one, as in ST-MoE
            (arXiv:2202.08906); `None` for none.
    """

    num_experts: int = 8
    d_ff: int | None = None
    placement: Placement = Odd()
    decoder_placement: Placement | None = None
    routing: Policy = Switch()
    decoder_routing: Policy | None = None
    dispatch: object = GatherDispatch()
    eval_dispatch: object | None = None
    groups: object = BySequence()
    expert_dropout_rate: float = 0.0
    router: RouterOptions = RouterOptions()
    layer_losses: LayerSum | LayerMean = LayerSum()
    extra_mlp: PlainMlp | GatedMlp | None = None

    def mistakes(self):
        yield from below(self, 1, "num_experts")
        yield from below(self, 1, "d_ff", optional=True)
        yield from not_rates(self, "expert_dropout_rate")
        parts = {
            "placement": Placement,
            "routing": Policy,
            "router": RouterOptions,
            "layer_losses": (LayerSum, LayerMean),
        }
        yield from not_instances(self, parts)
        yield from not_instances(
            self,
            {
                "decoder_placement": (Placement, type(None)),
                "decoder_routing": (Policy, type(None)),
                "extra_mlp": (PlainMlp, GatedMlp, type(None)),
            },
        )


@part
class ModelConfig(Part):
    """A Switch or T5 model.

    Args:
        vocab_size: rows of the token table; T5's 32,100 tokens rounded up to 128s.
        num_sentinels: `<extra_id_n>` tokens that the vocabulary must have room for.
        d_model: width of the residual stream.
        d_ff: width inside a dense MLP.
        d_kv: width of an attention head.
        num_heads: query heads.
        num_kv_heads: key and value heads; `None` is one per query head, 1 multi-query.
        num_layers: blocks of the encoder, or of the only stack.
        num_decoder_layers: blocks of an encoder-decoder's decoder; `None` is as many.
        architecture: `"encoder-decoder"`, `"decoder-only"` or `"encoder-only"`.
        mlp: kind of MLP, dense and in experts.
        mixer: how an encoder mixes tokens; decoders attend.
        block: order of mixing and MLP; parallel blocks have no cross attention.
        position: what tells positions apart, or `None`.
        sparse: the sparse layers; `None` is a dense model.
        dropout_rate: of embeddings, attention weights, and each branch.
        layer_norm_epsilon: added to the mean square.
        tie_embeddings: whether the token table also makes the logits, scaled by
            `d_model ** -0.5`; otherwise they have a kernel of their own.
        init_scale: of the truncated normal initializers (arXiv:2101.03961, table 3).
        remat: whether blocks are computed again in the backward pass, to save memory.
        prefix_lm: whether a decoder-only model sees a prefix in both directions.
        lora: updates of low rank, which alone are trained; `None` for none.

    Raises:
        ValueError: naming every mistake at once.
    """

    vocab_size: int = 32128
    num_sentinels: int = 0
    d_model: int = 512
    d_ff: int = 2048
    d_kv: int = 64
    num_heads: int = 8
    num_kv_heads: int | None = None
    num_layers: int = 6
    num_decoder_layers: int | None = None
    architecture: str = ENCODER_DECODER
    mlp: PlainMlp | GatedMlp = PlainMlp()
    mixer: SelfAttention | Fourier = SelfAttention()
    block: Serial | Parallel = Serial()
    position: RelativePosition | RotaryPosition | None = RelativePosition()
    sparse: Sparse | None = None
    dropout_rate: float = 0.0
    layer_norm_epsilon: float = 1e-6
    tie_embeddings: bool = True
    init_scale: float = 0.1
    remat: bool = False
    prefix_lm: bool = False
    lora: Lora | None = None

    def __post_init__(self):
        mistakes = [*self._sizes(), *self._kinds()]
        if not mistakes:  # the rest reads sizes and parts
            mistakes = [*self._combinations(), *self._sparse_mistakes()]
        refuse("This ModelConfig cannot be built", mistakes)

    @property
    def stacks(self) -> tuple[str, ...]:
        """The stacks of this architecture: `"encoder"`, `"decoder"` or both."""
        return _STACKS[self.architecture]

    @property
    def packable(self) -> bool:
        """Whether examples packed in one row never see each other."""
        return not isinstance(self.mixer, Fourier)

    def depth(self, stack: str) -> int:
        """Returns the number of blocks of a stack."""
        second = stack == "decoder" and self.architecture == ENCODER_DECODER
        if second and self.num_decoder_layers is not None:
            return self.num_decoder_layers
        return self.num_layers

    def sparse_layers(self, stack: str | None = None) -> tuple[int, ...]:
        """Returns the numbers of the sparse layers of a stack, by default the first."""
        stack = stack or self.stacks[0]
        if self.sparse is None or stack not in self.stacks:
            return ()
        placement = self.sparse.placement
        if stack != self.stacks[0]:
            placement = self.sparse.decoder_placement or placement
        return placement.layers(self.depth(stack))

    def is_sparse(self, i: int, stack: str | None = None) -> bool:
        """Returns whether layer `i` of a stack, by default the first, has experts."""
        return i in self.sparse_layers(stack)

    def routing(self, stack: str) -> Policy:
        """Returns the policy of a stack's sparse layers."""
        if stack == "decoder" and self.sparse.decoder_routing is not None:
            return self.sparse.decoder_routing
        return self.sparse.routing

    def _sizes(self):
        positive = ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads")
        yield from below(self, 1, *positive, "num_layers")
        yield from below(self, 1, "num_kv_heads", "num_decoder_layers", optional=True)
        yield from below(self, 0, "num_sentinels")
        yield from not_rates(self, "dropout_rate")
        for name in ("layer_norm_epsilon", "init_scale"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or value <= 0:
                yield f"{name}={value!r}: give a number above 0"

    def _kinds(self):
        if self.architecture not in _STACKS:
            yield (
                f"architecture={self.architecture!r}: give one of {list(_STACKS)}; "
                f"nearest is {nearest(self.architecture, _STACKS)}"
            )
        optional = type(None)
        yield from not_instances(
            self,
            {
                "mlp": (PlainMlp, GatedMlp),
                "mixer": (SelfAttention, Fourier),
                "block": (Serial, Parallel),
                "position": (RelativePosition, RotaryPosition, optional),
                "sparse": (Sparse, optional),
                "lora": (Lora, optional),
            },
        )

    def _combinations(self):
        special = 3 + self.num_sentinels  # padding, end, unknown
        if self.vocab_size < special:
            yield (
                f"vocab_size={self.vocab_size} has no room for padding, end, unknown "
                f"and num_sentinels={self.num_sentinels}: give at least {special}"
            )
        if self.num_kv_heads and self.num_heads % self.num_kv_heads:
            yield (
                f"num_kv_heads={self.num_kv_heads} must divide "
                f"num_heads={self.num_heads}"
            )
        mlps = {self.mlp, self.sparse.extra_mlp if self.sparse else None}
        for mlp in mlps - {None}:
            yield from unknown_activation(mlp)
        yield from self.position.mistakes() if self.position else ()
        yield from self._architecture_mistakes()

    def _architecture_mistakes(self):
        kind = self.architecture
        if self.num_decoder_layers is not None and kind != ENCODER_DECODER:
            yield (
                f"num_decoder_layers={self.num_decoder_layers} with a {kind} model: it "
                "has one stack, set num_layers"
            )
        if self.prefix_lm and kind != DECODER_ONLY:
            yield f"prefix_lm with a {kind} model: only decoder-only models have it"
        if isinstance(self.mixer, Fourier) and kind == DECODER_ONLY:
            yield "mixer=Fourier() sees the future: a decoder needs SelfAttention()"
        if isinstance(self.block, Parallel) and kind == ENCODER_DECODER:
            yield (
                "block=Parallel() has no place for cross attention: take a "
                "decoder-only or encoder-only architecture, or Serial()"
            )
        if isinstance(self.position, RotaryPosition) and self.d_kv % 2:
            yield f"RotaryPosition() turns pairs: d_kv={self.d_kv} must be even"

    def _sparse_mistakes(self):
        if self.sparse is None:
            return
        mistakes = list(self.sparse.mistakes())
        yield from (f"sparse: {mistake}" for mistake in mistakes)
        if mistakes:
            return
        for stack in self.stacks:
            try:
                sparse = self.sparse_layers(stack)
            except ValueError as mistake:
                yield f"sparse layers of the {stack}: {mistake}"
                continue
            if sparse and stack == "decoder" and not self.routing(stack).causal:
                yield (
                    f"{type(self.routing(stack)).__name__} lets experts choose among "
                    "all tokens of a group, so a decoder would see the future: set "
                    "Sparse(decoder_routing=TopK(k=2)) or another policy in which "
                    "tokens choose, or Sparse(decoder_placement=NoLayers())"
                )
