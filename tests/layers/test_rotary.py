import numpy as np
import pytest
from helpers_layers import array, turned

from keras_switch.layers import Rotary


@pytest.mark.parity
@pytest.mark.parametrize("positions", [[0, 1, 5], [[0, 1, 2], [7, 3, 100]]])
def test_pairs_of_coordinates_turn_as_complex_numbers(positions):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype("float32")
    y = array(Rotary(max_wavelength=100)(x, np.array(positions)))
    rows = np.broadcast_to(positions, (2, 3))
    for row, place, head in np.ndindex(2, 3, 4):
        expected = turned(x[row, place, head], rows[row, place], 100)
        np.testing.assert_allclose(y[row, place, head], expected, atol=1e-5)


@pytest.mark.parity
def test_scores_depend_on_distance_only():
    rng, rotary = np.random.default_rng(0), Rotary()
    query, key = rng.normal(size=(2, 1, 1, 1, 8)).astype("float32")

    def score(i, j):
        turned = rotary(query, np.array([i])), rotary(key, np.array([j]))
        return np.sum(array(turned[0]) * array(turned[1]))

    np.testing.assert_allclose(score(3, 1), score(1002, 1000), atol=1e-4)
    assert abs(score(3, 1) - score(3, 2)) > 1e-2


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match=r"vectors of 5 coordinates.*must be even"):
        Rotary()(np.ones((1, 2, 1, 5), "float32"), np.arange(2))
