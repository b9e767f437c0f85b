import numpy as np
import pytest
from keras import ops

from keras_switch.layers.initializers import ScaledTruncatedNormal


def test_the_cut_normal_is_not_widened_and_experts_do_not_count_as_inputs():
    values = ops.convert_to_numpy(ScaledTruncatedNormal(0.1, seed=1)((8, 40, 500)))
    untruncated = (0.1 / 40) ** 0.5
    # A normal cut at two standard deviations keeps 0.8796 of its own.
    np.testing.assert_allclose(values.std(), 0.87962566 * untruncated, rtol=5e-3)
    assert np.abs(values).max() <= 2 * untruncated


def test_a_seed_fixes_the_values_and_no_seed_varies_them():
    fixed = ScaledTruncatedNormal(1.0, seed=3)
    again = ScaledTruncatedNormal.from_config(fixed.get_config())
    np.testing.assert_array_equal(fixed((4, 5)), again((4, 5)))
    free = ScaledTruncatedNormal(1.0)
    assert np.abs(np.array(free((4, 5))) - np.array(free((4, 5)))).max() > 0


def test_a_scale_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"scale=-1 must be positive"):
        ScaledTruncatedNormal(scale=-1)
