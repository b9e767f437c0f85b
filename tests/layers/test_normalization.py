import numpy as np
import pytest
from helpers_layers import array
from keras import ops

from keras_switch.layers import RMSNorm


@pytest.mark.parity
def test_each_vector_is_divided_by_its_root_mean_square_and_scaled():
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
    norm = RMSNorm(epsilon=0.1)
    norm.build(x.shape)
    norm.scale.assign(np.arange(8) - 3.0)
    expected = np.empty_like(x)
    for i in np.ndindex(2, 3):
        expected[i] = x[i] / np.sqrt(np.sum(x[i] ** 2) / 8 + 0.1) * (np.arange(8) - 3.0)
    np.testing.assert_allclose(array(norm(x)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_statistic_and_scale_stay_float32_in_half_precision(dtype):
    # In float16 the squares would overflow; in bfloat16 a scale of 1.001 rounds to 1.
    x = np.full((1, 2, 4), 1000.0, "float32")
    norm = RMSNorm(dtype=dtype)
    norm.build(x.shape)
    norm.scale.assign([1.001, 100.3, 1.0, 1.0])
    y = array(norm(x))[0, 0]
    rounded = array(ops.cast([1.001, 100.3, 1.0, 1.0], norm.compute_dtype))
    np.testing.assert_array_equal(y, rounded)
    # 100.3 * 0.9 rounded once, not a rounded scale times a rounded quotient.
    norm.scale.assign([3.3, 1.0, 1.0, 1.0])
    x = np.array([[[1.01, 2.0, 3.0, 4.0]]], "float32")
    x = array(ops.cast(x, norm.compute_dtype))
    exact = x[0, 0, 0] / np.sqrt(np.mean(x**2) + 1e-6) * 3.3
    assert array(norm(x))[0, 0, 0] == array(
        ops.cast(np.float32(exact), norm.compute_dtype)
    )
