import numpy as np
import pytest
from helpers_layers import array

from keras_switch.layers import FourierMixing, attention_mask


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parity
def test_tokens_mix_by_a_transform_over_length_and_model():
    x = random(2, 5, 6)
    expected = np.fft.fft2(x, axes=(1, 2)).real
    np.testing.assert_allclose(array(FourierMixing()(x)), expected, atol=1e-5)


@pytest.mark.parity
def test_padding_is_taken_as_zeros_whichever_mask_says_so():
    x, segments = random(2, 4, 6), np.array([[1, 1, 0, 0], [1, 1, 1, 1]])
    expected = np.fft.fft2(x * (segments > 0)[..., None], axes=(1, 2)).real
    for mask in (segments > 0, attention_mask(segments, segments)):
        y = array(FourierMixing()(x, mask=mask))
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_the_transform_is_float32_in_half_precision():
    x = 200 * np.ones((1, 64, 64), "float32")  # their sum overflows float16
    x[0, 1::2] *= -1
    y = array(FourierMixing(dtype="mixed_float16")(x / 100))
    np.testing.assert_allclose(y, np.fft.fft2(x / 100).real, rtol=1e-3, atol=1e-2)


def test_a_position_bias_is_refused():
    with pytest.raises(ValueError, match=r"no attention logits.*position=None"):
        FourierMixing()(random(1, 3, 4), bias=np.zeros((1, 1, 3, 3), "float32"))
