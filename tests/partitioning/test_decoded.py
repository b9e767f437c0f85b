"""Generation on a mesh."""

import keras_hub
import numpy as np
import pytest
from helpers_mesh import RULES, batch, model
from helpers_partitioning import on_devices

from keras_switch import models
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


def made(architecture, how, **compiled):
    """Returns a model whose random weights make it say something."""
    found = model(architecture, how, sampler="top_k", **compiled)
    rng = np.random.default_rng(2)
    for weight in found.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape).astype("float32"))
    return found


def drawing():
    return keras_hub.samplers.TopPSampler(p=0.9, temperature=0.7, seed=3)


def compared(spread, alone, data, sampler, **asked):
    """Returns what one device generates; the mesh must say the same."""
    asked["return_scores"] = True
    wanted, likely = alone.generate(dict(data), sampler=sampler(), **asked)
    found, scores = spread.generate(dict(data), sampler=sampler(), **asked)
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])
    np.testing.assert_allclose(scores, likely, atol=1e-5)
    return wanted


def check(mesh, architecture, how):
    alone = made(architecture, how, run_eagerly=True)
    with Mesh(mesh, RULES[mesh]):
        spread = made(architecture, how)
    data, stop = prompts(architecture), None
    prefix = "" if architecture == "decoder-only" else "decoder_"
    for stopped in (False, True):
        asked = {"stop_token_ids": stop, "sampler": lambda: "greedy"}
        wanted = compared(spread, alone, data, **asked)
        assert wanted[f"{prefix}padding_mask"].all() != stopped
        stop = (int(wanted[f"{prefix}token_ids"][0, 4]),)  # the first after the prompt
    asked = {"stop_token_ids": stop, "min_new_tokens": 2, "max_new_tokens": 3}
    for sampler in (drawing, lambda: models.BeamSearch(3)):
        wanted = compared(spread, alone, data, sampler, num_samples=3, **asked)
        three = wanted[f"{prefix}token_ids"][0]
        assert len(np.unique(three, axis=0)) == 3
    if architecture == "decoder-only":
        # A search of KerasHub, which orders the rows of caches in its own way.
        found = [
            one.generate(
                dict(data),
                stop_token_ids=None,
                sampler=keras_hub.samplers.BeamSampler(num_beams=3),
            )
            for one in (alone, spread)
        ]
        np.testing.assert_array_equal(*(x["token_ids"] for x in found))
        return
    # Too few rows to be split, but not too few beams; with the sampler of `compile`,
    # whose seed lies on the mesh.
    few = {name: value[:2] for name, value in data.items()}
    for sampler in (lambda: None, lambda: models.BeamSearch(4)):
        compared(spread, alone, few, sampler, num_samples=4, stop_token_ids=None)


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
