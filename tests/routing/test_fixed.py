import helpers_routing as helpers
import keras
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

pytestmark = pytest.mark.parity

LOGITS = np.zeros((2, 9, 4), "float32")
MASK = np.arange(9) < np.array([[9], [5]])


def hashed(ids, num_experts=4, **options):
    logits = np.zeros((*ids.shape, num_experts), "float32")
    return numpy(
        routing.Hash(**options).assign(logits, capacity=None, token_ids=ids).expert
    )[..., 0]


def test_a_hash_depends_on_the_token_alone():
    ids = np.array([[5, 7, 5, 123_456, 7]], "int32")
    found = hashed(ids)
    assert found[0, 0] == found[0, 2] and found[0, 1] == found[0, 4]
    np.testing.assert_array_equal(hashed(ids[:, ::-1]), found[:, ::-1])
    np.testing.assert_array_equal(hashed(ids, salt=0), found)


def test_hashes_are_fixed_for_all_times():
    ids = np.array([[0, 1, 2, 3, 31_999, 2**31 - 1]], "int32")
    assert hashed(ids, 8).tolist() == [[7, 2, 5, 0, 3, 7]]


@pytest.mark.parametrize("num_experts", [2, 8, 128])
def test_hashes_spread_a_vocabulary_evenly(num_experts):
    count = np.bincount(
        hashed(np.arange(32_128, dtype="int32")[None], num_experts).ravel(),
        minlength=num_experts,
    )
    assert count.min() > 0.8 * 32_128 / num_experts
    assert count.max() < 1.2 * 32_128 / num_experts


def test_another_salt_is_another_hash():
    ids = np.arange(1000, dtype="int32")[None]
    same = (hashed(ids, salt=0) == hashed(ids, salt=1)).mean()
    assert same < 0.5


def test_uniform_deals_real_tokens_in_turn():
    for mask in (MASK, np.roll(MASK, 2, axis=1)):
        found = helpers.assign(routing.Uniform(), LOGITS, mask, capacity=9)
        for g in range(2):
            expert = numpy(found.expert)[g, mask[g], 0]
            np.testing.assert_array_equal(expert, np.arange(mask[g].sum()) % 4)


@pytest.mark.parametrize("policy", [routing.Hash(), routing.Uniform()])
def test_answers_of_fixed_experts_count_in_full(policy):
    assert not policy.uses_router
    found = helpers.assign(policy, LOGITS, MASK, capacity=9)
    np.testing.assert_array_equal(numpy(found.gate)[..., 0], MASK)
    np.testing.assert_array_equal(numpy(found.kept)[..., 0], MASK)
    np.testing.assert_allclose(numpy(routing.metrics(found)["confidence"]), 1)


def test_soft_asks_every_expert_and_weighs_by_the_softmax():
    logits = np.random.default_rng(0).normal(size=(2, 9, 4))
    policy = routing.Soft()
    found = helpers.assign(policy, logits, MASK, policy.rows(9, 4))
    combine = numpy(found.one_hot()[1]).sum(-1)
    expected = helpers.softmax(logits) * MASK[..., None]
    np.testing.assert_allclose(combine, expected, atol=1e-6)


def test_hash_asks_for_token_ids_that_fit():
    with pytest.raises(ValueError, match=r"token_ids is None.*token_ids=\.\.\."):
        routing.Hash().assign(LOGITS, capacity=2)
    ids = keras.ops.zeros((2, 8), "int32")
    with pytest.raises(ValueError, match=r"token_ids of shape \(2, 8\).*\(2, 9\)"):
        routing.Hash().assign(LOGITS, capacity=2, token_ids=ids)
