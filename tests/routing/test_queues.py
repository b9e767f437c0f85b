import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch.routing.queues import indicator, places

pytestmark = pytest.mark.parity


def queue_by_hand(expert, asked, order, num_experts):
    """One token after the other, all first choices first."""
    place = np.full(expert.shape, -1)
    for g in range(expert.shape[0]):
        length = np.zeros(num_experts, int)
        for k in range(expert.shape[2]):
            for s in order[g]:
                if asked[g, s, k]:
                    place[g, s, k] = length[expert[g, s, k]]
                    length[expert[g, s, k]] += 1
    return place


@pytest.mark.parametrize("num_experts", [1, 3, 40])
@pytest.mark.parametrize("num_choices", [1, 3])
def test_places_are_those_of_a_queue_served_by_hand(num_experts, num_choices):
    rng = np.random.default_rng(num_experts)
    expert = rng.integers(num_experts, size=(2, 30, num_choices), dtype="int32")
    asked = rng.random(expert.shape) < 0.7
    by_position = np.stack([np.arange(30)] * 2).astype("int32")
    other = rng.permuted(by_position, axis=1)
    everyone = np.ones_like(asked)
    for given, passed in [(asked, asked), (everyone, None)]:
        expected = queue_by_hand(expert, given, by_position, num_experts)
        found = numpy(places(expert, passed, num_experts))
        np.testing.assert_array_equal(found, expected)
        expected = queue_by_hand(expert, given, other, num_experts)
        found = numpy(places(expert, passed, num_experts, other))
        np.testing.assert_array_equal(found, expected)


def test_places_are_exact_in_a_long_queue():
    expert = np.zeros((1, 70_000, 1), "int32")
    found = numpy(places(expert, None, 2))
    assert found.dtype == "int32"
    np.testing.assert_array_equal(found[0, :, 0], np.arange(70_000))


def test_the_indicator_is_zero_outside_its_range():
    found = numpy(indicator(np.array([[0, 2], [-1, 3]], "int32"), 3))
    expected = [[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 0, 0]]]
    np.testing.assert_array_equal(found, expected)
