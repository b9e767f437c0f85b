import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

pytestmark = pytest.mark.parity


def by_hand(probs, k, capacity, order):
    """Round after round, token after token; the expert of each, -1 if none."""
    expert = np.full(len(probs), -1)
    length = np.zeros(probs.shape[-1], int)
    for i in range(k):
        for s in order[expert[order] < 0]:
            e = np.argsort(-probs[s])[i]
            if length[e] < capacity:
                expert[s], length[e] = e, length[e] + 1
    return expert


@pytest.mark.parametrize("priority", ["position", "probability"])
@pytest.mark.parametrize(("k", "capacity"), [(1, 2), (2, 2), (4, 3)])
def test_equals_rounds_by_hand(priority, k, capacity):
    rng = np.random.default_rng(k)
    logits = rng.normal(size=(1, 14, 4)) + np.array([2.0, 1.0, 0.0, 0.0])
    probs = helpers.softmax(logits)[0]
    order = np.arange(14)
    if priority == "probability":
        order = np.argsort(-probs.max(-1), kind="stable")
    expert = by_hand(probs, k, capacity, order)
    policy = routing.NoTokenLeftBehind(k, priority=priority)
    combine = helpers.assign(policy, logits, capacity=capacity).one_hot()[1]
    found = numpy(combine)[0].sum(-1)
    np.testing.assert_array_equal(np.where(found.any(-1), found.argmax(-1), -1), expert)
    served = expert >= 0
    np.testing.assert_allclose(
        found[served].sum(-1), probs[served, expert[served]], rtol=1e-5
    )


def test_leaves_none_behind_where_switch_does():
    logits = np.tile([3.0, 2.0, 1.0, 0.0], (1, 8, 1))
    behind = routing.metrics(helpers.assign(routing.Switch(), logits, capacity=2))
    none = routing.metrics(
        helpers.assign(routing.NoTokenLeftBehind(4), logits, capacity=2)
    )
    assert (numpy(behind["dropped"]), numpy(none["dropped"])) == (0.75, 0)
