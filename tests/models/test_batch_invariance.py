"""What a request says does not depend on the others, nor on padding."""

import helpers_models as helpers
import numpy as np
import pytest

from keras_switch import models
from keras_switch.routing import TopK

LENGTH, NEW = 9, 6
SPARSE = models.Sparse(4, routing=TopK(2))


@pytest.fixture(scope="module")
def model():
    config = helpers.tiny(sparse=SPARSE)
    model = models.SwitchSeq2SeqLM(models.SwitchBackbone(config))
    helpers.scatter(model, 0.5)
    return model


def requests(rows, room=LENGTH):
    """Returns inputs of as many lengths as there are, with room behind them."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, LENGTH + 1, (rows, 1))
    mask = (np.arange(room) < lengths).astype("int32")
    ids = np.zeros((rows, room), "int32")
    ids[:, :LENGTH] = rng.integers(3, 48, (rows, LENGTH))
    start = np.arange(NEW + 1) < np.ones((rows, 1))
    return {
        "encoder_token_ids": ids * mask,
        "encoder_padding_mask": mask,
        "decoder_token_ids": np.zeros((rows, NEW + 1), "int32"),
        "decoder_padding_mask": start.astype("int32"),
    }


def answered(model, batch):
    found, scores = model.generate(
        dict(batch), stop_token_ids=(1,), sampler="greedy", return_scores=True
    )
    return found["decoder_token_ids"], scores


def test_requests_get_their_own_answers_in_any_batch_at_any_place(model):
    batch = requests(64)
    ids, scores = answered(model, batch)
    assert len(np.unique(ids, axis=0)) > 10
    order = np.random.default_rng(1).permutation(64)
    # Alone, in small and large batches, and at other places.
    parts = [[0], [5], [*range(3, 10)], [*order]]
    for part in parts:
        some = {name: value[part] for name, value in batch.items()}
        found, score = answered(model, some)
        np.testing.assert_array_equal(found, ids[part])
        np.testing.assert_allclose(score, scores[part], atol=1e-5)


def test_logits_move_neither_with_the_batch_nor_with_padding(model):
    batch, wide = requests(8), requests(8, LENGTH + 7)
    wide["decoder_token_ids"] = batch["decoder_token_ids"] + 5
    batch["decoder_token_ids"] = wide["decoder_token_ids"]
    with models.decoding.dropless(model):
        wanted = np.asarray(model(batch))
        padded = np.asarray(model(wide))
        alone = [
            np.asarray(model({name: x[i : i + 1] for name, x in batch.items()}))
            for i in range(8)
        ]
    np.testing.assert_allclose(padded[:, 0], wanted[:, 0], atol=1e-5)
    np.testing.assert_allclose(np.concatenate(alone), wanted, atol=1e-5)


def test_padding_changes_no_answer(model):
    ids, scores = answered(model, requests(8))
    found, score = answered(model, requests(8, LENGTH + 7))
    np.testing.assert_array_equal(found, ids)
    np.testing.assert_allclose(score, scores, atol=1e-5)
