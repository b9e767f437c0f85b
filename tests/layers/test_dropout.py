import numpy as np
import pytest
from helpers_layers import array

from keras_switch.layers.dropout import SequenceDropout


def test_a_mask_is_shared_along_the_length_and_differs_between_rows():
    y = array(SequenceDropout(0.5)(np.ones((2, 3, 64), "float32"), training=True))
    assert set(np.unique(y)) == {0.0, 2.0}
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    np.testing.assert_array_equal(y[:, 0], y[:, 2])
    assert (y[0] != y[1]).any()


def test_rows_without_a_length_have_masks_of_their_own():
    y = array(SequenceDropout(0.5)(np.ones((2, 64), "float32"), training=True))
    assert (y[0] != y[1]).any()


def test_nothing_is_dropped_outside_training():
    x = np.ones((2, 3, 4), "float32")
    np.testing.assert_array_equal(array(SequenceDropout(0.9)(x)), x)


def test_a_rate_that_drops_everything_is_refused():
    with pytest.raises(ValueError, match=r"dropout rate 1: .* below 1"):
        SequenceDropout(1)
