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


def ended(row, sequences):
    """Returns whether each sequence of a row holds a stop token of its own."""
    return [STOP in sequence[int(MASK[row].sum()) :] for sequence in sequences]


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


@pytest.mark.parity
def test_t5xs_rule_prefers_all_sequences_that_end():
    sampler = models.BeamSearch(
        64, models.T5LengthPenalty(), models.WhenImpossible(), models.T5XRule()
    )
    sequences, scores = searched(sampler)
    for row in range(2):
        wanted, values = every_sequence(row, lambda n: ((5 + n) / 6) ** 0.6)
        ends = np.array(ended(row, wanted))
        assert not ends[:6].all()  # it makes a difference here
        np.testing.assert_array_equal(sequences[row, :6], np.array(wanted)[ends][:6])
        np.testing.assert_allclose(scores[row, :6], np.array(values)[ends][:6], 1e-5)


def test_where_nothing_ends_t5xs_rule_gives_what_runs_without_a_penalty():
    sampler = models.BeamSearch(
        64, models.T5LengthPenalty(), models.WhenImpossible(), models.T5XRule()
    )
    # No end may come before the limit, which the second row meets later.
    sequences, scores = searched(sampler, min_new_tokens=2, max_new_tokens=2)
    for row in range(2):
        wanted, _ = every_sequence(row, lambda n: 1.0)
        start = int(MASK[row].sum())
        several = {
            sequence[: start + 2]
            for sequence in wanted
            if STOP not in sequence[start : start + 2]
        }
        assert {tuple(x[: start + 2]) for x in sequences[row, :9]} == several
        assert (sequences[row, :, start + 2 :] == 0).all()
        logs = TABLE - np.log(np.exp(TABLE).sum(-1, keepdims=True))
        for found, score in zip(sequences[row, :9], scores[row, :9], strict=True):
            steps = range(start, start + 2)
            value = sum(logs[i, found[i - 1], found[i]] for i in steps)
            np.testing.assert_allclose(score, value, rtol=1e-5)


@pytest.mark.parity
def test_one_beam_by_t5xs_rule_ends_where_the_end_is_second():
    # 2, then 3, are likelier than the end (1) at each step, but the end is second.
    table = [[0.1, 0.3, 0.6, 1e-9], [0.1, 0.2, 0.1, 0.6]]
    logits = np.log(table).astype("float32")

    def two_steps(tokens, cache, index):
        step = ops.take(ops.convert_to_tensor(logits), index - 1, axis=0)
        return ops.broadcast_to(step, (tokens.shape[0], 4)), None, cache

    prompt, mask = np.zeros((1, 3), "int32"), np.array([[1, 0, 0]], bool)
    found = {}
    for rule in (models.HuggingFaceRule(), models.T5XRule()):
        sampler = models.BeamSearch(
            1, models.T5LengthPenalty(0.0), models.WhenImpossible(), rule
        )
        sequences, scores = sampler.search(two_steps, prompt, mask, None, 1, (STOP,))
        found[type(rule).__name__] = (
            np.asarray(sequences)[0, 0].tolist(),
            float(np.exp(np.asarray(scores)[0, 0])),
        )
    assert found["HuggingFaceRule"] == ([0, 2, 3], pytest.approx(0.36))
    assert found["T5XRule"] == ([0, 1, 0], pytest.approx(0.3))


@pytest.mark.parity
def test_mesh_tensorflow_looks_at_two_tokens_of_each_beam():
    rule = models.MeshTensorFlowRule()
    logs = np.array([[[-3, -1, -2, -9], [-5, -6, -4, -4.5]]], "float32")
    penalty = np.array([[2.0]], "float32")
    found = [np.asarray(x).tolist() for x in rule.best(logs, penalty, 4)]
    assert found == [[[-1, -2, -4, -4.5]], [[0, 0, 1, 1]], [[1, 2, 2, 3]]]
    plain = models.T5XRule().best(logs, penalty, 3)
    assert [np.asarray(x).tolist() for x in plain] == [
        [[-1, -2, -3]],
        [[0, 0, 0]],
        [[1, 2, 0]],
    ]
    with pytest.raises(ValueError, match=r"per_beam=1: give a number of at least 2"):
        models.MeshTensorFlowRule(1)


def test_the_best_is_sure_before_all_places_are_taken():
    found = {}
    for stopping in (models.WhenImpossible(), models.WhenBestIsSure()):
        steps = []

        def counted(tokens, cache, index, steps=steps):
            steps.append(1)
            certain = np.full((tokens.shape[0], VOCAB), -9.0, "float32")
            certain[:, STOP] = 9.0
            return ops.convert_to_tensor(certain), None, cache

        sampler = models.BeamSearch(3, models.LengthPower(), stopping, models.T5XRule())
        best = sampler(counted, PROMPT[:1], None, 1, MASK[:1], (STOP,))
        found[type(stopping).__name__] = np.asarray(best).tolist(), len(steps)
    sure, full = found["WhenBestIsSure"], found["WhenImpossible"]
    assert sure[0] == full[0] == [[0, STOP, 0, 0, 0]]
    assert sure[1] < full[1]


@pytest.mark.parametrize(
    "options",
    [
        {"stopping": models.WhenFull()},
        {"stopping": models.WhenUnlikely()},
        {"stopping": models.WhenImpossible()},
        {"stopping": models.WhenImpossible(), "rule": models.T5XRule()},
        {"stopping": models.WhenBestIsSure(), "rule": models.MeshTensorFlowRule()},
    ],
    ids=lambda options: "-".join(type(x).__name__ for x in options.values()),
)
def test_a_row_is_searched_as_it_would_be_alone(options):
    sampler = models.BeamSearch(3, **options)
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
    parts = models.T5LengthPenalty(0.8), models.WhenFull(), models.T5XRule()
    sampler = models.BeamSearch(3, *parts)
    config = keras.saving.serialize_keras_object(sampler)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == sampler.get_config()
    assert (again.length_penalty, again.stopping, again.rule) == parts
    assert keras_hub.samplers.get(sampler) is sampler
    best = np.asarray(sampler(following, PROMPT, None, 1, MASK, (STOP,)))
    np.testing.assert_array_equal(best, searched(sampler)[0][:, 0])


def test_beams_are_a_positive_number():
    with pytest.raises(ValueError, match=r"num_beams=0: give a positive whole"):
        models.BeamSearch(0)
