"""Whole models against flaxformer's, as T5X trains them."""

import functools
import json
import pathlib

import helpers_convert as convert
import helpers_models as helpers
import numpy as np
import pytest
from keras import ops

from keras_switch import layers, models
from keras_switch.convert import t5x_names

pytestmark = pytest.mark.parity

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "flaxformer"
META = json.loads((GOLDENS / "meta.json").read_text())["models"]
CASES = [
    f"{name}/{mode}"
    for name in ("switch_base_tiny", "switch_c_tiny")
    for mode in ("eval", "eval_nodrop", "train")
]


@functools.cache
def case(which):
    """Returns the model, its inputs, expected numbers and the golden's config."""
    name, mode = which.split("/")
    meta = META[name]["config"]
    model, _ = convert.flaxformer_model(name, mode)
    batch = dict(np.load(GOLDENS / name / "inputs.npz"))
    return model, batch, np.load(GOLDENS / name / f"expected_{mode}.npz"), meta


def model_inputs(batch):
    # flaxformer's decoder routes its last input, the end of the targets, like a token.
    routed = batch["decoder_input_tokens"] > 0
    routed[:, 0] = True
    return {
        "encoder_token_ids": batch["encoder_input_tokens"],
        "encoder_padding_mask": (batch["encoder_input_tokens"] > 0).astype("int32"),
        "decoder_token_ids": batch["decoder_input_tokens"],
        "decoder_padding_mask": routed.astype("int32"),
    }


def token_loss(logits, batch, meta):
    """Returns T5X's cross entropy: smoothed, less the entropy of the target, z-loss."""
    vocab, smoothing = logits.shape[-1], meta["ls"]
    low = smoothing / (vocab - 1)
    weights = batch["decoder_loss_weights"]
    total = helpers.cross_entropy(
        logits, batch["decoder_target_tokens"], weights, low=low, z_loss=1e-4
    )
    high = 1 - smoothing
    entropy = -(high * np.log(high) + (vocab - 1) * low * np.log(low + 1e-20))
    return total / float(weights.sum()) - entropy


def forward(which):
    """Returns the logits, with the decoder's padding as flaxformer has it.

    The last input of a target, its end, is routed like a token, but sees nothing.
    """
    model, batch, _, _ = case(which)
    backbone, training = model.backbone, which.endswith("train")
    inputs = model_inputs(batch)
    real = ops.array(inputs["encoder_padding_mask"])
    targets = ops.array((batch["decoder_target_tokens"] > 0).astype("int32"))
    encoded = backbone.encode(inputs["encoder_token_ids"], real, training=training)
    decoded = helpers.run_stack(
        backbone,
        backbone.decoder,
        inputs["decoder_token_ids"],
        layers.attention_mask(targets, targets, causal=True),
        ops.array(inputs["decoder_padding_mask"]),
        context=encoded * ops.cast(real, "float32")[..., None],
        context_mask=layers.attention_mask(targets, real),
        training=training,
    )
    return model.head(decoded)


def run(which):
    """Returns the logits, and the assignments of all sparse layers by name."""
    with models.recorded_assignments(case(which)[0]) as routes:
        logits = forward(which)
    return logits, routes


@pytest.mark.parametrize("which", CASES)
def test_logits_and_loss_are_flaxformers(which):
    model, batch, expected, meta = case(which)
    logits, routes = run(which)
    real = batch["decoder_target_tokens"] > 0
    np.testing.assert_allclose(
        np.asarray(logits)[real], expected["logits"][real], atol=3e-4
    )
    name, mode = which.split("/")
    if mode == "eval_nodrop":  # the goldens have no loss of it
        return
    loss = token_loss(logits, batch, meta)
    policies = {layer.name: layer.routing for layer in models.sparse_layers(model)}
    for layer, assignment in routes.items():
        loss += sum(policies[layer].losses(assignment).values())
    np.testing.assert_allclose(float(loss), META[name][f"loss_{mode}"], rtol=5e-6)


@pytest.mark.parametrize("name", ["switch_base_tiny", "switch_c_tiny"])
def test_a_plain_call_gives_flaxformers_logits_of_real_tokens(name):
    model, batch, expected, _ = case(f"{name}/eval_nodrop")
    real = batch["decoder_target_tokens"] > 0
    logits = np.asarray(model(model_inputs(batch)))
    np.testing.assert_allclose(logits[real], expected["logits"][real], atol=3e-4)


@pytest.mark.parametrize("which", CASES)
def test_the_same_tokens_are_dropped_as_in_flaxformer(which):
    _, _, expected, _ = case(which)
    _, routes = run(which)
    assert routes
    for name, assignment in routes.items():
        stack, i = name.split("_")
        key = f"{stack}/layers_{i}/mlp/router/dispatch_mask"
        dispatch, _ = assignment.one_hot()
        np.testing.assert_array_equal(dispatch, expected[key], err_msg=key)


@pytest.mark.parametrize("which", [case for case in CASES if case.endswith("train")])
def test_training_gives_flaxformers_loss_and_gradients(which):
    model, batch, expected, meta = case(which)

    def loss():
        return token_loss(forward(which), batch, meta)

    value, ours = helpers.gradients(model, loss)
    np.testing.assert_allclose(value, expected["loss"], rtol=5e-6)
    table = t5x_names.table({"encoder": 0, "decoder": 0})
    convert.compare_gradients(model, table, ours, expected, "grad/")


def searched(name, mode, beams):
    """Returns the sequences and scores of T5X's beam search, best first.

    As in flaxformer's decoding, tokens are dropped: at each step the beams of all rows
    compete for places.
    """
    model, batch, _, _ = case(f"{name}/{mode}")
    rows, length = batch["decoder_target_tokens"].shape
    inputs = model_inputs(batch)
    inputs["decoder_token_ids"] = np.zeros((rows, length + 1), "int32")
    inputs["decoder_padding_mask"] = np.eye(1, length + 1).repeat(rows, 0)
    sampler = models.BeamSearch(
        beams, models.T5LengthPenalty(0.6), models.WhenImpossible(), models.T5XRule()
    )
    with helpers.dropping(model):
        found, scores = model.generate(
            inputs,
            stop_token_ids=(1,),
            sampler=sampler,
            num_samples=beams,
            return_scores=True,
        )
    return found["decoder_token_ids"][..., 1:], scores


@pytest.mark.parametrize("name", ["switch_base_tiny", "switch_c_tiny"])
def test_beams_are_t5xs(name):
    expected = np.load(GOLDENS / name / "expected_decode.npz")
    sequences, scores = searched(name, "eval", 4)
    # The best is last there; places that no sequence took have a score of -1e7.
    wanted = expected["beam4_scores"][:, ::-1]
    taken = wanted > -1e6
    assert taken[:, 0].all()
    np.testing.assert_array_equal(sequences[taken], expected["beam4"][:, ::-1][taken])
    np.testing.assert_allclose(scores[taken], wanted[taken], atol=1e-4)


@pytest.mark.parametrize("name", ["switch_base_tiny", "switch_c_tiny"])
def test_t5xs_greedy_decoding_is_its_search_with_one_beam(name):
    expected = np.load(GOLDENS / name / "expected_decode.npz")
    sequences, scores = searched(name, "eval", 1)
    np.testing.assert_array_equal(sequences, expected["greedy"])
    np.testing.assert_allclose(scores, expected["greedy_scores"], atol=1e-4)
    sequences, _ = searched(name, "eval_nodrop", 1)
    np.testing.assert_array_equal(sequences, expected["greedy_nodrop"])
