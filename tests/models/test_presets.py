import math

import pytest

from keras_switch import models

# What papers and sources print; NUMERICS of this project, section 2.1.
PRINTED = {
    "switch_base_2": "0.280",
    "switch_base_4": "0.393",
    "switch_base_8": "0.619",
    "switch_base_16": "1.072",
    "switch_base_32": "1.979",
    "switch_base_64": "3.791",
    "switch_base_128": "7.415",
    "switch_base_256": "14.664",
    "switch_large_128": "26.31",
    "switch_xxl": "394.7",
    "switch_c": "1571.3",
    "st_moe_32b": "269",
    "palm_8b": "8.63",
    "palm_62b": "62.50",
    "palm_540b": "540.35",
}


def by_hand(config):
    """Counts the parameters of an encoder-decoder or a decoder from its sizes."""
    d, heads = config.d_model, config.num_heads * config.d_kv
    keys = (config.num_kv_heads or config.num_heads) * config.d_kv
    attention = d * (2 * heads + 2 * keys)
    matrices = 3 if isinstance(config.mlp, models.GatedMlp) else 2
    total = config.vocab_size * d * (1 if config.tie_embeddings else 2)
    for stack in config.stacks:
        crosses = stack == "decoder" and len(config.stacks) == 2
        total += d
        if isinstance(config.position, models.RelativePosition):
            total += config.num_heads * config.position.num_buckets
        for i in range(config.depth(stack)):
            norms = 1 if isinstance(config.block, models.Parallel) else 2 + crosses
            total += norms * d + attention * (1 + crosses)
            dense = matrices * d * config.d_ff
            if not config.is_sparse(i, stack):
                total += dense
                continue
            sparse = config.sparse
            total += sparse.num_experts * (
                matrices * d * (sparse.d_ff or config.d_ff) + d
            )
            total += dense + d if sparse.extra_mlp else 0
    return total


@pytest.mark.parametrize("name", models.PRESETS)
def test_the_number_of_parameters_is_exact(name):
    preset = models.preset(name)
    found = models.count(preset.config).total
    assert found == preset.parameters == by_hand(preset.config)
    assert preset.source


@pytest.mark.parametrize("name", PRINTED)
def test_the_number_of_parameters_is_the_printed_one(name):
    digits = len(PRINTED[name].partition(".")[2])
    billions = models.preset(name).parameters / 1e9
    assert math.isclose(billions, float(PRINTED[name]), abs_tol=1.01 * 10**-digits)


def test_the_tiny_pair_has_the_same_work_per_token():
    sparse = models.count(models.preset("switch_tiny").config)
    dense = models.count(models.preset("t5_tiny").config)
    routers = sum(w.total for w in sparse.weights if w.path.endswith("router/kernel"))
    assert sparse.active - routers == dense.total


def test_an_unknown_name_is_told_its_nearest():
    with pytest.raises(ValueError, match=r"Nearest are 'switch_base_8'"):
        models.preset("switch_bas_8")
