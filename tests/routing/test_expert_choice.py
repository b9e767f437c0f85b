import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

pytestmark = pytest.mark.parity

RNG = np.random.default_rng(2)
LOGITS = RNG.normal(size=(2, 9, 3))
MASK = np.arange(9) < np.array([[9], [2]])


def by_hand(scores, mask, capacity):
    """Each expert takes its best real tokens; `(G, S, E)` bool."""
    chosen = np.zeros(scores.shape, bool)
    for g, e in np.ndindex(scores.shape[0], scores.shape[2]):
        best = np.argsort(-np.where(mask[g], scores[g, :, e], -1), kind="stable")
        best = best[:capacity]
        chosen[g, best[mask[g, best]], e] = True
    return chosen


@pytest.mark.parametrize("capacity", [1, 4, 9])
def test_experts_take_the_real_tokens_that_like_them_best(capacity):
    probs = helpers.softmax(LOGITS)
    found = helpers.assign(routing.ExpertChoice(), LOGITS, MASK, capacity)
    expected = by_hand(probs, MASK, capacity)
    np.testing.assert_array_equal(numpy(found.kept), expected)
    np.testing.assert_allclose(numpy(found.gate), probs * expected, atol=1e-6)


@pytest.mark.parametrize("capacity", [1, 4, 9])
def test_selection_weighs_by_a_softmax_over_tokens(capacity):
    scores = helpers.softmax(np.where(MASK[..., None], LOGITS, -1e9), axis=1)
    found = helpers.assign(routing.ExpertSelection(), LOGITS, MASK, capacity)
    chosen = by_hand(scores, MASK, capacity)
    takers = np.maximum(chosen.sum(-1, keepdims=True), 1)
    np.testing.assert_array_equal(numpy(found.kept), chosen)
    np.testing.assert_allclose(numpy(found.gate), scores * chosen / takers, atol=1e-6)


def test_without_a_capacity_experts_take_what_their_rule_says():
    rule = routing.CapacityFactor(eval=1.0, minimum=0)
    policy = routing.ExpertChoice(capacity=rule)
    dropless = helpers.assign(policy, LOGITS)
    assert dropless.capacity == 3
    with_rows = helpers.assign(policy, LOGITS, capacity=3)
    np.testing.assert_array_equal(numpy(dropless.place), numpy(with_rows.place))


@pytest.mark.parametrize("policy", [routing.ExpertChoice, routing.ExpertSelection])
def test_noise_changes_who_is_taken_in_training_only(policy):
    noisy = policy(exploration=routing.LogitNoise(std=30.0))
    plain = numpy(helpers.assign(policy(), LOGITS, capacity=3).kept)
    found = numpy(helpers.assign(noisy, LOGITS, capacity=3, training=True).kept)
    assert not np.array_equal(found, plain)
    found = numpy(helpers.assign(noisy, LOGITS, capacity=3).kept)
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize("padding", ["masked", "mesh_tensorflow"])
def test_selection_loss_is_the_variation_of_how_much_tokens_are_liked(padding):
    policy = routing.ExpertSelection(balance_loss_weight=1.0, padding=padding)
    logits = np.zeros((1, 4, 2))
    logits[0, 0] = 100.0  # both experts like token 0 only
    found = policy.losses(helpers.assign(policy, logits))["balance"]
    np.testing.assert_allclose(numpy(found), 4, rtol=1e-6)
