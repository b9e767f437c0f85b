"""Generation with caches, samplers of KerasHub and dropless experts."""

import helpers_models as helpers
import keras_hub
import numpy as np
import pytest

from keras_switch import models
from keras_switch.dispatch import EinsumDispatch
from keras_switch.routing import ExpertChoice, FixedCapacity, Switch, TopK

DECODER = {"architecture": "decoder-only"}
# Without caches these would drop nearly every token; generation drops none.
TIGHT = models.Sparse(4, routing=Switch(capacity=FixedCapacity(1)))
CASES = {
    "encoder-decoder": {},
    "decoder": DECODER,
    "prefix": {**DECODER, "prefix_lm": True},
    "rotary, parallel": {
        **DECODER,
        "position": models.RotaryPosition(),
        "block": models.Parallel(),
        "num_kv_heads": 1,
    },
    "extra mlp": {
        "sparse": models.Sparse(4, routing=TopK(2), extra_mlp=models.GatedMlp())
    },
}


def language_model(config):
    two = len(config.stacks) == 2
    task = models.SwitchSeq2SeqLM if two else models.SwitchCausalLM
    model = task(models.SwitchBackbone(config))
    helpers.scatter(model, scale=0.5)
    return model


def prompt(config, length=8):
    """Returns inputs of `generate` whose rows have prompts of 3 and 1 tokens."""
    batch = helpers.inputs(config, length=length, targets=length)
    name = "decoder_" if len(config.stacks) == 2 else ""
    mask = np.arange(length) < np.array([[3], [1]])
    batch[f"{name}token_ids"] = batch[f"{name}token_ids"] * mask
    batch[f"{name}padding_mask"] = mask.astype("int32")
    if name:
        batch["encoder_padding_mask"] = (np.arange(length) < [[8], [5]]).astype("int32")
    return batch, f"{name}token_ids", f"{name}padding_mask"


def by_whole_calls(model, batch, ids_name, mask_name):
    """Greedy decoding that runs the whole model for every token."""
    ids, mask = batch[ids_name].copy(), batch[mask_name]
    given = dict(batch)
    if model.backbone.config.prefix_lm:
        given["prefix_mask"] = mask
    with models.decoding.dropless(model):
        for at in range(1, ids.shape[1]):
            known = np.ones_like(ids) * (np.arange(ids.shape[1]) < at)
            known = np.maximum(known, mask)
            logits = np.asarray(model({**given, ids_name: ids, mask_name: known}))
            best = logits[:, at - 1].argmax(-1)
            ids[:, at] = np.where(mask[:, at] == 1, ids[:, at], best)
    return ids


@pytest.mark.parametrize(
    "name",
    [
        *("encoder-decoder", "decoder", "extra mlp"),
        pytest.param("prefix", marks=pytest.mark.parity),
        pytest.param("rotary, parallel", marks=pytest.mark.parity),
    ],
)
def test_cached_generation_gives_the_tokens_of_whole_calls(name):
    config = helpers.tiny(**{"sparse": TIGHT, **CASES[name]})
    model = language_model(config)
    batch, ids, mask = prompt(config)
    expected = by_whole_calls(model, batch, ids, mask)
    model.compile(sampler="greedy")
    found = model.generate(dict(batch), stop_token_ids=None)
    np.testing.assert_array_equal(found[ids], expected)
    assert found[mask].all()
    assert len(np.unique(expected)) > 3


def test_a_row_is_generated_as_it_would_be_alone():
    config = helpers.tiny(sparse=TIGHT)
    model = language_model(config)
    model.compile(sampler="greedy")
    batch, ids, _ = prompt(config)
    together = model.generate(dict(batch), stop_token_ids=None)[ids]
    alone = {name: value[:1] for name, value in batch.items()}
    alone = model.generate(alone, stop_token_ids=None)[ids]
    np.testing.assert_array_equal(together[:1], alone)


def test_the_mask_ends_with_the_first_new_stop_token():
    ids = np.array([[0, 1, 5, 1, 7, 1], [0, 4, 5, 6, 7, 8]])
    prompt_mask = np.arange(6) < np.array([[2], [1]])
    mask = models.decoding.generated_mask(ids, prompt_mask, (1,))
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


@pytest.mark.parametrize("sampler", ["top_k", "top_p", "beam", "contrastive", "random"])
def test_samplers_of_keras_hub_keep_the_prompt_and_fill_the_rest(sampler):
    if sampler == "contrastive":
        sampler = keras_hub.samplers.ContrastiveSampler(k=3, alpha=0.2)
    config = helpers.tiny()
    model = language_model(config)
    model.compile(sampler=sampler, run_eagerly=True)
    batch, ids, mask = prompt(config, length=5)
    found = model.generate(dict(batch), stop_token_ids=None)[ids]
    kept = batch[mask] == 1
    np.testing.assert_array_equal(found[kept], batch[ids][kept])
    assert ((found >= 0) & (found < config.vocab_size)).all()


def test_one_beam_is_greedy_and_more_are_likelier():
    config = helpers.tiny()
    model = language_model(config)
    batch, ids, _ = prompt(config, length=6)
    found = {}
    for beams in (1, 4):
        model.compile(sampler=keras_hub.samplers.BeamSampler(num_beams=beams))
        found[beams] = model.generate(dict(batch), stop_token_ids=None)[ids]
    model.compile(sampler="greedy")
    greedy = model.generate(dict(batch), stop_token_ids=None)[ids]
    np.testing.assert_array_equal(found[1], greedy)

    def log_likelihood(tokens):
        with models.decoding.dropless(model):
            logits = np.asarray(model({**batch, ids: tokens}))
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        picked = np.take_along_axis(logs[:, :-1], tokens[:, 1:, None], -1)[..., 0]
        return picked.sum(-1)

    assert (log_likelihood(found[4]) >= log_likelihood(greedy) - 1e-4).all()


def test_generation_leaves_an_eval_dispatch_and_expert_choice_as_they_are():
    sparse = models.Sparse(
        4,
        eval_dispatch=EinsumDispatch(),
        routing=ExpertChoice(),
        decoder_routing=TopK(2),
    )
    model = models.SwitchBackbone(helpers.tiny(sparse=sparse))
    with models.decoding.dropless(model):
        kept = [layer.eval_dispatch for layer in models.sparse_layers(model)]
    assert kept == [EinsumDispatch()] * 2
    sparse = models.Sparse(4, routing=ExpertChoice(), decoder_routing=TopK(2))
    model = models.SwitchBackbone(helpers.tiny(sparse=sparse))
    with models.decoding.dropless(model):
        encoder, decoder = models.sparse_layers(model)
        assert encoder.eval_dispatch is None
        assert not decoder.eval_dispatch.drops
    assert decoder.eval_dispatch is None


def written(model, batch, **options):
    """Returns ids, mask and scores of `generate`, the stop token being 7."""
    _, ids, mask = prompt(model.backbone.config)
    found, scores = model.generate(
        dict(batch), stop_token_ids=(7,), return_scores=True, **options
    )
    return found[ids], found[mask], scores


@pytest.mark.parametrize("name", ["encoder-decoder", "decoder"])
def test_scores_are_log_likelihoods_of_what_was_written(name):
    model = language_model(helpers.tiny(**CASES[name]))
    batch, ids, mask = prompt(model.backbone.config)
    tokens, counts, scores = written(model, batch, sampler="greedy")
    with models.decoding.dropless(model):
        logits = np.asarray(model({**batch, ids: tokens, mask: np.ones_like(tokens)}))
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    logs = np.take_along_axis(logs[:, :-1], tokens[:, 1:, None], -1)[..., 0]
    new = (counts & (batch[mask] == 0))[:, 1:]
    np.testing.assert_allclose(scores, (logs * new).sum(-1), atol=1e-4)


def test_several_samples_are_drawn_for_each_input():
    model = language_model(helpers.tiny(**DECODER))
    batch, *_ = prompt(model.backbone.config)
    one = keras_hub.samplers.TopKSampler(k=1)
    greedy, _, score = written(model, batch, sampler="greedy")
    same, mask, scores = written(model, batch, sampler=one, num_samples=3)
    assert same.shape == mask.shape == (2, 3, 8) and scores.shape == (2, 3)
    np.testing.assert_array_equal(same, np.stack([greedy] * 3, 1))
    np.testing.assert_allclose(scores, np.stack([score] * 3, 1), atol=1e-5)
    drawn, *_ = written(model, batch, sampler="random", num_samples=3)
    assert len(np.unique(drawn[1], axis=0)) == 3
    beams, _, ranked = written(
        model, batch, sampler=models.BeamSearch(4), num_samples=2
    )
    assert beams.shape == (2, 2, 8) and (ranked[:, 0] >= ranked[:, 1]).all()


@pytest.mark.parametrize(
    "sampler", ["greedy", models.BeamSearch(2)], ids=["greedy", "beams"]
)
def test_rows_keep_to_the_least_and_the_most_tokens(sampler):
    model = language_model(helpers.tiny(**DECODER))
    batch, *_ = prompt(model.backbone.config)
    free, *_ = written(model, batch, sampler=sampler)
    stop = (int(free[1, 1]),)  # what the second row would say first
    asked = {"sampler": sampler, "min_new_tokens": 2, "max_new_tokens": 4}
    found = model.generate(dict(batch), stop_token_ids=stop, **asked)
    for row, start in ((0, 3), (1, 1)):
        tokens = found["token_ids"][row]
        assert not np.isin(tokens[start : start + 2], stop).any()
        assert not tokens[start + 4 :].any()
    again = model.generate(dict(batch), stop_token_ids=stop, **asked, strip_prompt=True)
    np.testing.assert_array_equal(again["token_ids"][0, :4], found["token_ids"][0, 3:7])


def test_the_loop_ends_with_its_last_row(monkeypatch):
    model = language_model(helpers.tiny(**DECODER))
    model.compile(run_eagerly=True)
    batch, *_ = prompt(model.backbone.config)
    free, *_ = written(model, batch, sampler="greedy")
    steps, decode = [], model._decode
    monkeypatch.setattr(model, "_decode", lambda *a: steps.append(a[2]) or decode(*a))
    stops = tuple(map(int, (free[0, 3], free[1, 1])))
    found = model.generate(dict(batch), stop_token_ids=stops, sampler="greedy")
    ends = [int(np.flatnonzero(np.isin(row, stops))[-1]) for row in found["token_ids"]]
    assert int(steps[-1]) == max(ends) - 1 < 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "greedy", "num_samples": 2}, "num_samples=2.*greedy.*top_p"),
        ({"sampler": "beam", "return_scores": True}, r"BeamSampler.*BeamSearch"),
        ({"sampler": models.BeamSearch(2), "num_samples": 3}, "num_beams=2.*as many"),
        ({"num_samples": 0}, "num_samples=0: give a whole number of at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens=0: give a whole number"),
    ],
)
def test_what_a_sampler_cannot_do_is_refused(options, message):
    model = language_model(helpers.tiny())
    batch, *_ = prompt(model.backbone.config)
    with pytest.raises(ValueError, match=message):
        model.generate(batch, stop_token_ids=None, **options)
    with pytest.raises(ValueError, match=r"no preprocessor.*stop_token_ids"):
        model.generate(batch)
