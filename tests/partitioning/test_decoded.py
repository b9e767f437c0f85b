"""Generation on a mesh."""

import numpy as np
import pytest
from helpers_mesh import RULES, batch, model
from helpers_partitioning import on_devices

from keras_switch.partitioning import Mesh

LENGTH = 8


def prompts(architecture):
    """Returns a batch for `generate`: prompts of two to four tokens, room for more."""
    rng = np.random.default_rng(1)
    real = (np.arange(LENGTH) < rng.integers(2, 5, (8, 1))).astype("int32")
    ids = rng.integers(2, 32, (8, LENGTH)).astype("int32") * real
    if architecture == "decoder-only":
        return {"token_ids": ids, "padding_mask": real}
    inputs, *_ = batch(architecture)
    return {**inputs, "decoder_token_ids": ids, "decoder_padding_mask": real}


def made(architecture, how):
    """Returns a model whose random weights make it say something."""
    found = model(architecture, how, sampler="greedy")
    rng = np.random.default_rng(2)
    for weight in found.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape).astype("float32"))
    return found


def check(mesh, architecture, how):
    alone = made(architecture, how)
    with Mesh(mesh, RULES[mesh]):
        spread = made(architecture, how)
    data, stop = prompts(architecture), None
    prefix = "" if architecture == "decoder-only" else "decoder_"
    for stopped in (False, True):
        wanted = alone.generate(dict(data), stop_token_ids=stop)
        found = spread.generate(dict(data), stop_token_ids=stop)
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])
        assert wanted[f"{prefix}padding_mask"].all() != stopped
        stop = (int(wanted[f"{prefix}token_ids"][0, 4]),)  # the first after the prompt
    with pytest.raises(ValueError, match=r"greedy only.*TopK.*off_mesh"):
        spread.compile(sampler="top_k")
        spread.generate(dict(data), stop_token_ids=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "how", "architecture"),
    [
        ("data:4,model:2", "gather", "decoder-only"),
        ("data:8", "gather", "encoder-decoder"),
    ],
)
@on_devices
def test_a_mesh_generates_the_tokens_of_one_device(mesh, how, architecture):
    check(mesh, architecture, how)
