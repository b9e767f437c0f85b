import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

pytestmark = pytest.mark.parity

PROBS = np.array([[[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.6, 0.1, 0.3], [0.1, 0.7, 0.2]]])
LOGITS = np.log(PROBS)


def by_hand(probs, mask, k, capacity, priority):
    """One token after the other, in NumPy; `(G, S, E)` gates of those served."""
    served = np.zeros_like(probs)
    for g, group in enumerate(probs):
        order = np.arange(len(group))
        if priority == "probability":
            order = np.argsort(-group.max(-1), kind="stable")
        length = np.zeros(probs.shape[-1], int)
        for choice in range(k):
            for s in order[mask[g][order]]:
                e = np.argsort(-group[s], kind="stable")[choice]
                if length[e] < capacity:
                    served[g, s, e] = group[s, e]
                length[e] += 1
    return served


@pytest.mark.parametrize("priority", ["position", "probability"])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("capacity", [1, 4, 20])
def test_equals_serving_one_token_after_the_other(priority, k, capacity):
    rng = np.random.default_rng(k)
    logits, mask = rng.normal(size=(3, 20, 5)), rng.random((3, 20)) < 0.8
    policy = routing.TopK(k, priority=priority)
    combine = helpers.assign(policy, logits, mask, capacity).one_hot()[1]
    expected = by_hand(helpers.softmax(logits), mask, k, capacity, priority)
    np.testing.assert_allclose(numpy(combine).sum(-1), expected, atol=1e-6)


def test_switch_is_top_one():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 9, 4))
    switch = helpers.assign(routing.Switch(), logits, capacity=2)
    top = helpers.assign(routing.TopK(1), logits, capacity=2)
    for name in ("expert", "place", "gate"):
        x, y = (numpy(getattr(a, name)) for a in (switch, top))
        np.testing.assert_array_equal(x, y)


def test_priority_decides_who_is_dropped():
    by_position = helpers.assign(routing.Switch(), LOGITS, capacity=2)
    by_probability = helpers.assign(
        routing.Switch(priority="probability"), LOGITS, capacity=2
    )
    assert numpy(by_position.place)[0, :, 0].tolist() == [0, 1, 2, 0]
    assert numpy(by_probability.place)[0, :, 0].tolist() == [2, 0, 1, 0]


def test_renormalised_gates_add_up_to_one():
    raw = helpers.assign(routing.TopK(2), LOGITS)
    np.testing.assert_allclose(numpy(raw.gate)[0, 0], [0.5, 0.3], rtol=1e-5)
    even = helpers.assign(routing.TopK(2, renormalize=True), LOGITS)
    np.testing.assert_allclose(numpy(even.gate)[0, 0], [0.625, 0.375], rtol=1e-5)
    np.testing.assert_allclose(numpy(even.gate).sum(-1), 1, rtol=1e-6)


def test_of_equal_experts_the_first_is_chosen():
    found = helpers.assign(routing.TopK(2), np.zeros((1, 2, 4)))
    assert numpy(found.expert).tolist() == [[[0, 1], [0, 1]]]


def test_an_importance_below_one_is_not_a_real_token():
    half = np.array([[1.0, 0.5, 1.0, 0.0]], "float32")
    found = helpers.assign(routing.Switch(), LOGITS, half, capacity=4)
    assert numpy(found.place)[0, :, 0].tolist() == [0, -1, 1, -1]
