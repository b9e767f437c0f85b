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


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
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
