"""Published models and small ones, as one table of configs.

Sources: `NAME.gin` is `flaxformer/t5x/configs/moe/models/NAME.gin` of flaxformer;
papers by arXiv number. `parameters` is exact, embeddings included. Only configs are
built in: there are no weights to download.
"""

import dataclasses

from keras_switch.dispatch import FixedGroups
from keras_switch.models.config import DECODER_ONLY, LayerMean, ModelConfig, Sparse
from keras_switch.models.parts import GatedMlp, Parallel, RotaryPosition
from keras_switch.models.placement import AllLayers, Every
from keras_switch.partitioning.mistakes import nearest
from keras_switch.routing import Argmax, CapacityFactor, ExpertChoice, Switch, TopK


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model by name.

    Args:
        config: what it is.
        parameters: its exact number of weights.
        source: where the sizes come from.
    """

    config: ModelConfig
    parameters: int
    source: str


_EVERY_OTHER = Every(2)
# Vocabulary of T5 and Switch: 32,000 pieces and 100 sentinels, rounded up to 128s.
_T5 = ModelConfig(vocab_size=32128, num_sentinels=100)
_T5_1_1 = dataclasses.replace(_T5, mlp=GatedMlp("gelu"), tie_embeddings=False)


def _sized(base, d_model, d_ff, d_kv, num_heads, num_layers, **changes):
    sizes = {"d_model": d_model, "d_ff": d_ff, "d_kv": d_kv}
    return dataclasses.replace(
        base, num_heads=num_heads, num_layers=num_layers, **sizes, **changes
    )


def _capacity(train=1.25, eval=2.0, minimum=4):
    """T5X rounds, and does not stop at the size of the group."""
    return CapacityFactor(train, eval, minimum, rounding="round", at_most_group=False)


def _switch(num_experts, group, placement=_EVERY_OTHER, **capacity):
    routing = Switch(capacity=_capacity(**capacity))
    return Sparse(
        num_experts, None, placement, None, routing, groups=FixedGroups(group)
    )


def _top2(num_experts, step, group=4096, z_loss=0.0, factors=(1.25, 2.0), **changes):
    """Top-2 of `tokens_choose_base.gin`: raw gates, losses averaged over layers."""
    routing = TopK(
        2, balance_over="all", capacity=_capacity(*factors), z_loss_weight=z_loss
    )
    sparse = Sparse(
        num_experts,
        placement=Every(step),
        routing=routing,
        groups=FixedGroups(group),
        layer_losses=LayerMean(),
    )
    return dataclasses.replace(sparse, **changes)


def _tokens_choose(num_experts):
    sparse = _top2(num_experts, 4)
    # Batch-prioritised in the encoder; in a decoder it would see the future.
    encoder = dataclasses.replace(sparse.routing, priority="probability")
    return dataclasses.replace(sparse, routing=encoder, decoder_routing=sparse.routing)


def _experts_choose():
    capacity = CapacityFactor(1.0, 1.0, rounding="round", at_most_group=False)
    decoder = dataclasses.replace(_top2(64, 2).routing, capacity=capacity)
    return _top2(
        64, 2, routing=ExpertChoice(capacity=capacity), decoder_routing=decoder
    )


def _st_moe(num_experts, z_loss, group=4096, factors=(1.25, 2.0)):
    return _top2(num_experts, 4, group, z_loss, factors, extra_mlp=GatedMlp("gelu"))


_BASE = _sized(_T5, 768, 3072, 64, 12, 12)
_LARGE = _sized(_T5, 1024, 4096, 64, 16, 24)
_BASE_1_1 = _sized(_T5_1_1, 768, 2048, 64, 12, 12)
_LARGE_1_1 = _sized(_T5_1_1, 1024, 2816, 64, 16, 24)
_XL_1_1 = _sized(_T5_1_1, 2048, 5120, 64, 32, 24)
_XXL_1_1 = _sized(_T5_1_1, 4096, 10240, 64, 64, 24)
# Narrow MLPs: within minutes, four times the width is of no use to the dense twin, and
# so experts are of none to the sparse one (docs/demo.md).
# Logits of their own, as in T5 v1.1: a table of N(0, 1) is slow to become a classifier.
_TINY_T5 = ModelConfig(vocab_size=1024, num_sentinels=100, tie_embeddings=False)
_TINY = _sized(_TINY_T5, 64, 64, 32, 2, 2)
# Sequences are short: groups of several lose fewer tokens than one group each. So short
# a run learns more without jitter.
_TINY_SPARSE = Sparse(8, routing=Switch(exploration=Argmax()), groups=FixedGroups(4096))
_PALM = ModelConfig(
    vocab_size=256_000,
    architecture=DECODER_ONLY,
    mlp=GatedMlp("silu"),
    block=Parallel(),
    position=RotaryPosition(),
    num_kv_heads=1,
)


def _with(config, sparse, **changes):
    return dataclasses.replace(config, sparse=sparse, **changes)


_T5_PAPER = "arXiv:1910.10683, section 3.7"
_T5_1_1_SOURCE = "T5X, t5x/examples/t5/t5_1_1"
_SWITCH_BASE = "switch_base.gin; arXiv:2101.03961, tables 7 and 9"
_PALM_PAPER = "arXiv:2204.02311, table 1"
_ROWS = {
    "t5_small": (_sized(_T5, 512, 2048, 64, 8, 6), 60_506_624, _T5_PAPER),
    "t5_base": (_BASE, 222_903_552, _T5_PAPER),
    "t5_large": (_LARGE, 737_668_096, _T5_PAPER),
    "t5_3b": (_sized(_T5, 1024, 16384, 128, 32, 24), 2_851_598_336, _T5_PAPER),
    "t5_11b": (_sized(_T5, 1024, 65536, 128, 128, 24), 11_307_321_344, _T5_PAPER),
    "t5_1_1_small": (
        _sized(_T5_1_1, 512, 1024, 64, 6, 8),
        76_961_152,
        _T5_1_1_SOURCE,
    ),
    "t5_1_1_base": (_BASE_1_1, 247_577_856, _T5_1_1_SOURCE),
    "t5_1_1_large": (_LARGE_1_1, 783_150_080, _T5_1_1_SOURCE),
    "t5_1_1_xl": (_XL_1_1, 2_849_757_184, _T5_1_1_SOURCE),
    "t5_1_1_xxl": (_XXL_1_1, 11_135_332_352, _T5_1_1_SOURCE),
    **{
        f"switch_base_{n}": (_with(_BASE, _switch(n, 8192)), parameters, _SWITCH_BASE)
        for n, parameters in (
            (2, 279_545_088),
            (4, 392_809_728),
            (8, 619_339_008),
            (16, 1_072_397_568),
            (32, 1_978_514_688),
            (64, 3_790_748_928),
            (128, 7_415_217_408),
            (256, 14_664_154_368),
        )
    },
    "switch_large_128": (
        _with(_LARGE, _switch(128, 4096)),
        26_309_291_008,
        "switch_large.gin",
    ),
    "switch_xxl": (
        _with(_XXL_1_1, _switch(128, 4096, eval=4.0, minimum=2)),
        394_675_073_024,
        "switch_xxl.gin (the paper's table 9 prints 64 experts; 395 B parameters need "
        "128)",
    ),
    "switch_c": (
        _with(
            _sized(_T5, 2080, 6144, 64, 30, 15, tie_embeddings=False),
            _switch(2048, 2048, AllLayers(), train=1.0, minimum=2),
        ),
        1_571_327_875_360,
        "switch_c.gin (the paper's table 9 prints 32 heads)",
    ),
    "mswitch_base": (
        _with(_BASE, _switch(128, 8192), vocab_size=250_112),
        7_582_629_120,
        "arXiv:2101.03961, section 4.3; the number of experts is not in the paper, 128 "
        "is ours; vocabulary of mT5, arXiv:2010.11934",
    ),
    "tokens_choose_small": (
        _with(_sized(_T5_1_1, 512, 1024, 64, 6, 8), _tokens_choose(32)),
        272_061_824,
        "tokens_choose_small.gin",
    ),
    **{
        f"tokens_choose_{size}": (
            _with(dense, _tokens_choose(64)),
            parameters,
            f"tokens_choose_{size}.gin",
        )
        for size, dense, parameters in (
            ("base", _BASE_1_1, 2_031_500_544),
            ("large", _LARGE_1_1, 7_323_905_024),
            ("xl", _XL_1_1, 26_633_033_728),
            ("xxl", _XXL_1_1, 106_265_292_800),
        )
    },
    **{
        f"experts_choose_{size}": (
            _with(dense, _experts_choose()),
            parameters,
            f"experts_choose_{size}.gin; arXiv:2202.09368",
        )
        for size, dense, parameters in (
            ("base", _BASE_1_1, 3_815_423_232),
            ("large", _LARGE_1_1, 13_864_659_968),
            ("xl", _XL_1_1, 50_416_310_272),
            ("xxl", _XXL_1_1, 201_395_253_248),
        )
    },
    "st_moe_base": (
        _with(_BASE_1_1, _st_moe(16, 1e-4)),
        700_641_024,
        "st_moe_base.gin; arXiv:2202.08906",
    ),
    "st_moe_xl": (
        _with(_XL_1_1, _st_moe(16, 1e-4, 1024, (2.0, 4.0))),
        8_889_972_736,
        "st_moe_xl.gin; arXiv:2202.08906",
    ),
    "st_moe_32b": (
        _with(_sized(_T5_1_1, 5120, 20480, 128, 64, 24), _st_moe(64, 1e-3)),
        269_104_613_376,
        "st_moe_32b.gin; arXiv:2202.08906",
    ),
    "palm_8b": (_sized(_PALM, 4096, 16384, 256, 16, 32), 8_632_012_800, _PALM_PAPER),
    "palm_62b": (_sized(_PALM, 8192, 32768, 256, 32, 64), 62_495_662_080, _PALM_PAPER),
    "palm_540b": (
        _sized(_PALM, 18432, 73728, 256, 48, 118),
        540_356_474_880,
        _PALM_PAPER,
    ),
    "t5_tiny": (_TINY, 263_040, "ours: the dense twin of switch_tiny"),
    "switch_tiny": (_with(_TINY, _TINY_SPARSE), 378_752, "ours: trains on a laptop"),
    "switch_lm_tiny": (
        _with(_TINY, _TINY_SPARSE, architecture=DECODER_ONLY),
        238_464,
        "ours: the decoder of switch_tiny as a language model",
    ),
}
PRESETS = {name: Preset(*row) for name, row in _ROWS.items()}


def preset(name: str) -> Preset:
    """Returns the built-in preset of this name.

    Raises:
        ValueError: if there is none, with the nearest names.
    """
    if name not in PRESETS:
        raise ValueError(
            f"There is no preset {name!r}. Nearest are {nearest(name, PRESETS, 3)}; "
            f"all are {', '.join(PRESETS)}."
        )
    return PRESETS[name]
