import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

pytestmark = pytest.mark.parity


def found(policy, logits, mask=None, capacity=None):
    assignment = helpers.assign(policy, logits, mask, capacity)
    return {k: numpy(v) for k, v in routing.metrics(assignment).items()}


def test_metrics_equal_a_count_by_hand():
    # Tokens 0 to 2 want expert 0, which serves two; token 3 wants expert 1; 4 is none.
    logits = np.log([[[0.7, 0.2, 0.1]] * 3 + [[0.3, 0.6, 0.1]] + [[0.1, 0.1, 0.8]]])
    mask = np.array([[True, True, True, True, False]])
    metrics = found(routing.Switch(), logits, mask, capacity=2)
    np.testing.assert_allclose(metrics["load"], [3 / 4, 1 / 4, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics["dropped"], 1 / 4, rtol=1e-6)
    np.testing.assert_allclose(metrics["confidence"], (0.7 + 0.7 + 0.6) / 3, rtol=1e-5)
    np.testing.assert_allclose(metrics["usage"], 3 / 6, rtol=1e-6)
    probs = np.exp(logits[0, :4])
    entropy = -(probs * np.log(probs)).sum(-1).mean()
    np.testing.assert_allclose(metrics["entropy"], entropy, rtol=1e-5)


def test_a_token_with_one_of_two_choices_served_is_not_dropped():
    logits = np.log([[[0.6, 0.3, 0.1]] * 2])
    metrics = found(routing.TopK(2), logits, capacity=1)
    assert metrics["dropped"] == 0.5
    np.testing.assert_allclose(metrics["load"], [0.5, 0.5, 0])
    np.testing.assert_allclose(metrics["confidence"], 0.45, rtol=1e-6)


def test_without_a_capacity_all_rows_are_used_and_none_is_dropped():
    metrics = found(routing.Switch(), np.zeros((2, 6, 3)))
    assert (metrics["usage"], metrics["dropped"]) == (1.0, 0.0)
    np.testing.assert_allclose(metrics["entropy"], np.log(3), rtol=1e-6)


def test_padding_alone_gives_zeros_not_nan():
    mask = np.zeros((2, 6), bool)
    metrics = found(routing.Switch(), np.zeros((2, 6, 3)), mask, capacity=2)
    assert metrics["load"].tolist() == [0, 0, 0]
    assert metrics["confidence"] == metrics["entropy"] == metrics["usage"] == 0


def test_padding_that_takes_places_is_not_counted_as_served():
    policy = routing.Switch(padding="flaxformer_scatter_ignore")
    mask = np.array([[False, True, True]])
    logits = np.tile([9.0, 0.0], (1, 3, 1))
    assert found(policy, logits, mask, capacity=2)["dropped"] == 0.5


@pytest.mark.parametrize("policy", helpers.POLICIES, ids=helpers.name)
def test_every_policy_has_the_same_metrics(policy):
    logits = np.random.default_rng(0).normal(size=(2, 8, 4))
    metrics = found(policy, logits, capacity=2)
    assert list(metrics) == ["load", "dropped", "confidence", "entropy", "usage"]
    np.testing.assert_allclose(metrics["load"].sum(), 1, rtol=1e-6)
    assert all(np.isfinite(value).all() for value in metrics.values())
