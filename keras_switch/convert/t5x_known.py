"""What the gin files say that published T5X checkpoints include.

Only what describes a model, from `flaxformer/t5x/configs/moe` and
`t5x/examples/t5`, by the names under which runs include them.
"""

_MOE = "flaxformer/t5x/configs/moe/models"
_BASE = """
NUM_ENCODER_LAYERS = 12
NUM_DECODER_LAYERS = 12
NUM_HEADS = 12
HEAD_DIM = 64
EMBED_DIM = 768
MLP_DIM = 2048
NUM_EXPERTS = 64
NUM_ENCODER_SPARSE_LAYERS = 3
NUM_DECODER_SPARSE_LAYERS = 3
TRAIN_EXPERT_CAPACITY_FACTOR = 1.25
EVAL_EXPERT_CAPACITY_FACTOR = 2.
EXPERT_MLP_DIM = %MLP_DIM
EXPERT_DROPOUT_RATE = %DROPOUT_RATE
DROPOUT_RATE = 0.0
NUM_SELECTED_EXPERTS = 2
GROUP_SIZE = 4096
AUX_LOSS_FACTOR = 0.01
ROUTER_Z_LOSS_FACTOR = 0.0
JITTER_NOISE = 0.0
NUM_EMBEDDINGS = 32128
dense.MlpBlock.activations = ('gelu', 'linear')
expert/dense.MlpBlock.activations = ('gelu', 'linear')
moe_architecture.SparseDecoder.output_logits_factory = @output_logits/dense.DenseGeneral
relative_position_biases.RelativePositionBiases.num_buckets = 32
relative_position_biases.RelativePositionBiases.max_distance = 128
routing.TokensChooseMaskedRouter.ignore_padding_tokens = False
sparse_encoder/routing.TokensChooseMaskedRouter.batch_prioritized_routing = True
"""
_SWITCH = f"""{_BASE}
MLP_DIM = 3072
NUM_EXPERTS = 128
NUM_ENCODER_SPARSE_LAYERS = 6
NUM_DECODER_SPARSE_LAYERS = 6
NUM_SELECTED_EXPERTS = 1
GROUP_SIZE = 8192
dense.MlpBlock.activations = ('relu',)
expert/dense.MlpBlock.activations = ('relu',)
moe_architecture.SparseDecoder.output_logits_factory = None
sparse_encoder/routing.TokensChooseMaskedRouter.batch_prioritized_routing = False
"""
_LARGE = """
NUM_ENCODER_LAYERS = 24
NUM_DECODER_LAYERS = 24
NUM_HEADS = {heads}
EMBED_DIM = {d_model}
MLP_DIM = {d_ff}
GROUP_SIZE = 4096
NUM_ENCODER_SPARSE_LAYERS = 12
NUM_DECODER_SPARSE_LAYERS = 12
"""
_SWITCH_LARGE = _SWITCH + _LARGE.format(heads=16, d_model=1024, d_ff=4096)
_SWITCH_XXL = f"""{_SWITCH}{_LARGE.format(heads=64, d_model=4096, d_ff=10240)}
EVAL_EXPERT_CAPACITY_FACTOR = 4.
moe_layers.MoeLayer.min_expert_capacity = 2
dense.MlpBlock.activations = ('gelu', 'linear')
expert/dense.MlpBlock.activations = ('gelu', 'linear')
moe_architecture.SparseDecoder.output_logits_factory = @output_logits/dense.DenseGeneral
"""
_SWITCH_C = f"""{_SWITCH}
NUM_ENCODER_LAYERS = 15
NUM_DECODER_LAYERS = 15
NUM_HEADS = 30
EMBED_DIM = 2080
MLP_DIM = 6144
GROUP_SIZE = 2048
NUM_EXPERTS = 2048
NUM_ENCODER_SPARSE_LAYERS = %NUM_ENCODER_LAYERS
NUM_DECODER_SPARSE_LAYERS = %NUM_DECODER_LAYERS
TRAIN_EXPERT_CAPACITY_FACTOR = 1.
moe_layers.MoeLayer.min_expert_capacity = 2
moe_architecture.SparseDecoder.output_logits_factory = @output_logits/dense.DenseGeneral
"""
# Sizes of T5's models: d_model, heads, layers, d_kv, d_ff.
_T5_1_0 = {
    "small": (512, 8, 6, 64, 2048),
    "base": (768, 12, 12, 64, 3072),
    "large": (1024, 16, 24, 64, 4096),
    "3B": (1024, 32, 24, 128, 16384),
    "11B": (1024, 128, 24, 128, 65536),
}
_T5_1_1 = {
    "small": (512, 6, 8, 64, 1024),
    "base": (768, 12, 12, 64, 2048),
    "large": (1024, 16, 24, 64, 2816),
    "xl": (2048, 32, 24, 64, 5120),
    "xxl": (4096, 64, 24, 64, 10240),
}


def _dense(sizes, vocab, activations, tied):
    d_model, heads, layers, d_kv, d_ff = sizes
    return f"""
network.T5Config:
  vocab_size = {vocab}
  emb_dim = {d_model}
  num_heads = {heads}
  num_encoder_layers = {layers}
  num_decoder_layers = {layers}
  head_dim = {d_kv}
  mlp_dim = {d_ff}
  mlp_activations = {activations}
  dropout_rate = %DROPOUT_RATE
  logits_via_embedding = {tied}
"""


def _dense_files():
    gated = ("gelu", "linear")
    for name, sizes in _T5_1_0.items():
        text = _dense(sizes, 32128, ("relu",), True)
        yield f"t5x/examples/t5/t5_1_0/{name}.gin", text
    for name, sizes in _T5_1_1.items():
        for kind, vocab in (("t5_1_1", 32128), ("mt5", 250112)):
            text = _dense(sizes, vocab, gated, False)
            yield f"t5x/examples/t5/{kind}/{name}.gin", text
            yield f"t5x/examples/scalable_t5/{kind}/{name}.gin", text


# The names that the checkpoints of "switch_classic" include; each sets its own number.
_CLASSIC = {"base": _SWITCH, "large": _SWITCH_LARGE, "xxl": _SWITCH_XXL, "c": _SWITCH_C}
KNOWN = {
    f"{_MOE}/tokens_choose_base.gin": _BASE,
    f"{_MOE}/switch_base.gin": _SWITCH,
    f"{_MOE}/switch_large.gin": _SWITCH_LARGE,
    f"{_MOE}/switch_xxl.gin": _SWITCH_XXL,
    f"{_MOE}/switch_c.gin": _SWITCH_C,
    **{
        f"{_MOE}/switch_classic_{size}.gin": f"{text}NUM_EXPERTS = %gin.REQUIRED\n"
        for size, text in _CLASSIC.items()
    },
    **dict(_dense_files()),
}
