"""Whole models against Hugging Face's, on weights and numbers it produced."""

import functools
import json
import pathlib

import helpers_convert as convert
import helpers_models as helpers
import numpy as np
import pytest
from keras import ops

from keras_switch import models
from keras_switch.convert import hugging_face

pytestmark = pytest.mark.parity

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "hf"
SPARSE = [
    f"{name}/{mode}"
    for name in ("switch_tied", "switch_untied", "switch_edge")
    for mode in ("nodrop", "drop")
]
ALL = [*SPARSE, "t5_v10/", "t5_v11/"]
# |logits| reach 1 in the tied models and 8 in the others.
ATOL = {"switch_untied": 5e-4, "t5_v11": 5e-4}


@functools.cache
def case(which):
    """Returns the model, its inputs, expected numbers and the config of the golden."""
    name, mode = which.split("/")
    folder = GOLDENS / name
    file = folder / ("config_drop.json" if mode == "drop" else "config.json")
    model, _ = convert.hugging_face_model(name, mode)
    expected = dict(np.load(folder / f"expected{'_' * bool(mode)}{mode}.npz"))
    return (
        model,
        dict(np.load(folder / "inputs.npz")),
        expected,
        json.loads(file.read_text()),
    )


def model_inputs(batch):
    ids = batch["decoder_input_ids"]
    return {
        "encoder_token_ids": batch["input_ids"],
        "encoder_padding_mask": batch["attention_mask"],
        "decoder_token_ids": ids,
        "decoder_padding_mask": np.ones_like(ids),
    }


@pytest.mark.parametrize("which", ALL)
def test_logits_are_hugging_faces(which):
    model, batch, expected, _ = case(which)
    logits = np.asarray(model(model_inputs(batch)))
    atol = ATOL.get(which.split("/")[0], 1e-4)
    np.testing.assert_allclose(logits, expected["logits"], atol=atol)


@pytest.mark.parametrize("which", ALL)
def test_the_encoder_gives_hugging_faces_output_for_real_tokens(which):
    model, batch, expected, _ = case(which)
    encoded = model.backbone.encode(batch["input_ids"], batch["attention_mask"])
    real = batch["attention_mask"] == 1
    expected = expected["encoder_last_hidden_state"]
    np.testing.assert_allclose(np.asarray(encoded)[real], expected[real], atol=1e-4)


@pytest.mark.parametrize("which", SPARSE)
def test_tokens_visit_hugging_faces_experts_and_the_same_are_dropped(which):
    model, batch, expected, _ = case(which)
    with models.recorded_assignments(model) as routes:
        helpers.hf_forward(model, batch)
    assert routes
    for name, assignment in routes.items():
        stack, i = name.split("_")
        key = f"{stack[:3]}_{{}}_{i}"
        logits = np.asarray(assignment.logits)
        expert, kept = assignment.expert[..., 0], assignment.kept[..., 0]
        np.testing.assert_array_equal(expert, expected[key.format("expert_index")])
        np.testing.assert_array_equal(kept, expected[key.format("kept")])
        wanted = expected[key.format("router_logits")]
        np.testing.assert_allclose(logits, wanted, atol=1e-4)


@pytest.mark.parametrize("which", SPARSE)
def test_padding_moves_no_choice_of_a_real_token(which):
    model, batch, expected, _ = case(which)
    with models.recorded_assignments(model) as routes:
        model(model_inputs(batch))
    real = batch["attention_mask"] == 1
    for name, assignment in routes.items():
        stack, i = name.split("_")
        key, seen = f"{stack[:3]}_{{}}_{i}", real if stack == "encoder" else ...
        for what in ("expert", "kept"):
            ours = np.asarray(getattr(assignment, what)[..., 0])[seen]
            wanted = expected[key.format({"expert": "expert_index"}.get(what, what))]
            np.testing.assert_array_equal(ours, wanted[seen])


@pytest.mark.parametrize("which", ALL)
def test_the_cross_entropy_is_hugging_faces(which):
    model, batch, expected, _ = case(which)
    loss = _cross_entropy(model(model_inputs(batch)), batch)
    np.testing.assert_allclose(float(loss), expected["loss_ce"], rtol=1e-5)


@pytest.mark.parametrize("which", ALL)
def test_gradients_and_total_loss_are_hugging_faces(which):
    model, batch, expected, config = case(which)

    def loss():
        with models.recorded_assignments(model) as routes:
            logits, _ = helpers.hf_forward(model, batch)
        return _cross_entropy(logits, batch) + _router_losses(routes, config)

    name, mode = which.split("/")
    value, ours = helpers.gradients(model, loss)
    wanted = expected["loss_total"] if mode else expected["loss_ce"]
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    grads = np.load(GOLDENS / name / f"grads{'_' * bool(mode)}{mode}.npz")
    table = hugging_face.names(model.backbone.config)
    convert.compare_gradients(model, table, ours, grads)


UNDROPPED = [name for name in ALL if name.endswith(("nodrop", "v10/", "v11/"))]


@pytest.mark.parametrize("which", UNDROPPED)
def test_greedy_generation_with_caches_gives_hugging_faces_tokens(which):
    model, batch, expected, _ = case(which)
    expected = generations(which, expected)["gen_greedy"]
    prompt = np.zeros(expected.shape, "int32")
    inputs = {
        **model_inputs(batch),
        "decoder_token_ids": prompt,
        "decoder_padding_mask": np.arange(prompt.shape[1]) < (prompt + 1),
    }
    model.compile(sampler="greedy")
    found = model.generate(inputs, stop_token_ids=(1,))
    np.testing.assert_array_equal(found["decoder_token_ids"], expected)


BEAMS = {
    "gen_beam3": models.BeamSearch(3),
    "gen_beam4_lp06_es": models.BeamSearch(
        4, models.LengthPower(0.6), models.WhenFull()
    ),
}


@pytest.mark.parametrize("beams", BEAMS)
@pytest.mark.parametrize("which", UNDROPPED)
def test_beam_search_finds_hugging_faces_sequences_and_scores(which, beams):
    model, batch, expected, _ = case(which)
    expected = generations(which, expected)
    rows, length = len(batch["input_ids"]), 13
    inputs = {
        **model_inputs(batch),
        "decoder_token_ids": np.zeros((rows, length), "int32"),
        "decoder_padding_mask": np.arange(length) < np.ones((rows, 1)),
    }
    found, scores = model.generate(
        inputs, stop_token_ids=(1,), sampler=BEAMS[beams], return_scores=True
    )
    theirs = expected[beams]
    # Theirs end with the longest answer, and are filled up with the stop token.
    room = length - theirs.shape[1]
    theirs = np.pad(theirs, [(0, 0), (0, room)], constant_values=1)
    ended = np.cumsum(theirs == 1, axis=-1) > 1
    ours = found["decoder_token_ids"]
    np.testing.assert_array_equal(ours, np.where(ended, 0, theirs))
    np.testing.assert_array_equal(found["decoder_padding_mask"], ~ended)
    np.testing.assert_allclose(scores, expected[f"{beams}_scores"], atol=1e-4)


def generations(which, expected):
    """Returns what Hugging Face generated, which of one golden is in another file."""
    if which == "t5_v11/":
        return np.load(GOLDENS / "t5_v11" / "expected_gen.npz")
    return expected


def _cross_entropy(logits, batch):
    real = batch["labels"] != -100
    labels = np.where(real, batch["labels"], 0)
    return helpers.cross_entropy(logits, labels, real) / float(real.sum())


def _router_losses(routes, config):
    """Returns what Hugging Face adds: per stack, over all layers' tokens at once."""
    total = 0.0
    for stack in ("encoder", "decoder"):
        if not config.get("num_experts") or config[f"{stack}_sparse_step"] <= 1:
            continue  # it leaves stacks out in which every layer is sparse
        of_stack = [routes[name] for name in routes if name.startswith(stack)]
        logits = ops.concatenate([a.logits for a in of_stack], axis=1)
        probs = ops.softmax(logits)
        chosen = ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1])
        shares = ops.mean(chosen, axis=1) * ops.mean(probs, axis=1)
        balance = logits.shape[-1] ** 2 * ops.mean(shares)
        z = ops.mean(ops.square(ops.logsumexp(logits, axis=-1)))
        total += config["router_aux_loss_coef"] * balance
        total += config["router_z_loss_coef"] * z
    return total
