import numpy as np
import pytest

from keras_switch.routing.softmax import softmax


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 1), (2, 1, 4), (2, 3, 1)])
def test_sums_to_one_over_axes_of_any_size_without_a_warning(shape, axis):
    logits = np.random.default_rng(0).normal(size=shape).astype("float32")
    expected = np.exp(logits) / np.exp(logits).sum(axis, keepdims=True)
    np.testing.assert_allclose(softmax(logits, axis=axis), expected, atol=1e-6)
