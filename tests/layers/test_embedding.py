import keras
import numpy as np
import pytest
from helpers_layers import array

from keras_switch.layers import TokenEmbedding

IDS = np.array([[3, 0, 3], [6, 1, 2]])


@pytest.mark.parity
def test_tied_scores_are_scaled_products_with_the_vectors():
    layer = TokenEmbedding(7, 4)
    x = array(layer(IDS))
    table = array(layer.embedding)
    np.testing.assert_array_equal(x, table[IDS])
    np.testing.assert_allclose(array(layer.logits(x)), x @ table.T / 2, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(("logit_scale", "factor"), [(None, 1.0), (0.25, 0.25)])
def test_untied_scores_have_a_kernel_and_no_scale_but_what_is_asked(
    logit_scale, factor
):
    layer = TokenEmbedding(7, 4, tied=False, logit_scale=logit_scale)
    x = array(layer(IDS))
    assert layer.kernel.dims == ("d_model", "vocab")
    expected = factor * x @ array(layer.kernel)
    np.testing.assert_allclose(array(layer.logits(x)), expected, atol=1e-6)


class Head(keras.layers.Layer):
    def __init__(self, embedding):
        super().__init__(dtype="mixed_bfloat16")
        self.embedding = embedding

    def call(self, x):
        return self.embedding.logits(x)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_float32_of_unrounded_weights_in_half_precision(tied):
    layer = TokenEmbedding(2, 2, tied=tied, logit_scale=1.0, dtype="mixed_bfloat16")
    layer.build()
    weight = layer.embedding if tied else layer.kernel
    weight.assign(np.array([[1.001, 0.0], [0.0, 1.0]]))
    # Within the call of another layer, where Keras rounds the weights that it may.
    logits = Head(layer)(np.array([[[1.0, 0.0]]], "float32"))
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    np.testing.assert_array_equal(array(logits)[0, 0], np.float32([1.001, 0.0]))
    assert keras.backend.standardize_dtype(layer(IDS[:1] % 2).dtype) == "bfloat16"


def test_weights_start_as_the_originals():
    layer = TokenEmbedding(500, 100, tied=False, init_scale=0.1)
    layer.build()
    np.testing.assert_allclose(array(layer.embedding).std(), 1, rtol=1e-2)
    expected = 0.8796 * (0.1 / 100) ** 0.5
    np.testing.assert_allclose(array(layer.kernel).std(), expected, rtol=1e-2)


def test_ids_that_are_not_integers_are_refused():
    with pytest.raises(ValueError, match=r"ids of dtype .*float32.*int32"):
        TokenEmbedding(7, 4)(np.ones((1, 2), "float32"))
