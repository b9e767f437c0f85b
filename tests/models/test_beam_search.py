"""Beam search: all sequences as the oracle, prompts of several lengths, options."""

import itertools

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

from keras_switch import models

VOCAB, LENGTH, STOP = 4, 5, 1
_RNG = np.random.default_rng(3)
TABLE = _RNG.standard_normal((LENGTH, VOCAB, VOCAB)).astype("float32")
PROMPT = np.array([[0, 0, 0, 0, 0], [3, 2, 0, 0, 0]], "int32")
MASK = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0]], bool)


def following(tokens, cache, index):
    """A language model of two tokens: the logits of what follows the last one."""
    last = ops.take(tokens, index - 1, axis=1)
    logits = ops.take(
        ops.take(ops.convert_to_tensor(TABLE), index, axis=0), last, axis=0
    )
    return logits, None, cache


def every_sequence(row, penalty):
    """Returns all that may follow a prompt and its score, best first."""
    start = int(MASK[row].sum())
    logs = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
    found = {}
    for tokens in itertools.product(range(VOCAB), repeat=LENGTH - start):
        end = tokens.index(STOP) + 1 if STOP in tokens else len(tokens)
        whole = (*PROMPT[row, :start], *tokens[:end], *(0,) * (len(tokens) - end))
        steps = range(start, start + end)
        score = sum(logs[i, whole[i - 1], whole[i]] for i in steps)
        # A row that ends is another than the one that goes on with 0.
        found[whole, end] = score / penalty(end)
    best = sorted(found.items(), key=lambda item: -item[1])
    return [sequence for (sequence, _), _ in best], [score for _, score in best]


def searched(sampler, prompt=PROMPT, mask=MASK, **options):
    start = int(mask.sum(-1).min())
    found = sampler.search(following, prompt, mask, None, start, (STOP,), **options)
    return [np.asarray(x) for x in found]


@pytest.mark.parity
@pytest.mark.parametrize("penalty", [models.LengthPower(1.5), models.T5LengthPenalty()])
def test_with_beams_for_all_it_finds_the_best_of_all_sequences(penalty):
    sampler = models.BeamSearch(64, penalty, models.WhenImpossible())
    sequences, scores = searched(sampler)
    for row in range(2):
        wanted, values = every_sequence(row, lambda n: float(penalty(float(n))))
        np.testing.assert_array_equal(sequences[row, :6], wanted[:6])
        np.testing.assert_allclose(scores[row, :6], values[:6], atol=1e-5)


@pytest.mark.parametrize("stopping", ["WhenFull", "WhenUnlikely", "WhenImpossible"])
def test_a_row_is_searched_as_it_would_be_alone(stopping):
    sampler = models.BeamSearch(3, stopping=getattr(models, stopping)())
    together = searched(sampler)
    for row in range(2):
        rows = slice(row, row + 1)
        alone = searched(sampler, PROMPT[rows], MASK[rows])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a, b[rows], atol=1e-6)


def test_no_stop_token_comes_before_the_least_length():
    for least in range(1, 4):
        sequences, _ = searched(models.BeamSearch(2), min_new_tokens=least)
        for row, mask in zip(sequences, MASK, strict=True):
            new = row[:, mask.sum() :][:, :least]
            assert not (new == STOP).any()


def test_penalties_are_those_of_the_papers():
    lengths = np.array([1.0, 4.0], "float32")
    np.testing.assert_allclose(models.LengthPower(0.5)(lengths), [1, 2])
    t5 = np.asarray(models.T5LengthPenalty(2.0)(lengths))
    np.testing.assert_allclose(t5, [1, 2.25], rtol=1e-6)
    assert not models.LengthPower(-1.0).favours_length
    assert not models.T5LengthPenalty(0.0).favours_length


def test_it_is_a_sampler_of_keras_hub_that_survives_its_config():
    sampler = models.BeamSearch(3, models.T5LengthPenalty(0.8), models.WhenFull())
    config = keras.saving.serialize_keras_object(sampler)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == sampler.get_config()
    assert again.length_penalty == models.T5LengthPenalty(0.8)
    assert keras_hub.samplers.get(sampler) is sampler
    best = np.asarray(sampler(following, PROMPT, None, 1, MASK, (STOP,)))
    np.testing.assert_array_equal(best, searched(sampler)[0][:, 0])


def test_beams_are_a_positive_number():
    with pytest.raises(ValueError, match=r"num_beams=0: give a positive whole"):
        models.BeamSearch(0)
