"""The router."""

import keras
import numpy as np
import pytest
from helpers_dispatch import numpy, set_weights

from keras_switch.layers import Router

POLICIES = ("float32", "mixed_bfloat16", "bfloat16", "mixed_float16")


@pytest.mark.parity
@pytest.mark.parametrize("policy", POLICIES)
def test_weights_are_not_rounded_whatever_the_policy(policy):
    # 1.001 is not a bfloat16, nor is 1.003; their product shows either rounded.
    layer = Router(2, use_bias=True, dtype=policy)
    layer.build((None, None, 1))
    set_weights(layer, kernel=[[1.001, -1.001]], bias=[1e-4, 0])
    logits = layer(np.array([[[1.003]]], "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    exact = [[[1.001 * 1.003 + 1e-4, -1.001 * 1.003]]]
    np.testing.assert_allclose(numpy(logits), exact, rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_symbolic_logits_are_float32(policy):
    logits = Router(3, dtype=policy)(keras.Input((5, 2)))
    assert logits.dtype == "float32"
    assert logits.shape == (None, 5, 3)


def test_weights_name_their_dimensions():
    layer = Router(3, use_bias=True)
    layer.build((None, None, 2))
    assert layer.kernel.dims == ("d_model", "experts_unsplit")
    assert layer.bias.dims == ("experts_unsplit",)


def test_there_are_experts():
    with pytest.raises(ValueError, match="num_experts=0"):
        Router(0)
