import pytest

from keras_switch.layers import FeedForward
from keras_switch.layers.base import Layer


def test_a_weight_needs_a_name_for_each_of_its_axes():
    with pytest.raises(ValueError, match=r"\(2, 3\) but dims \('d_model',\).*per axis"):
        Layer().add_param("w", (2, 3), ("d_model",), "zeros")


def test_a_weight_keeps_the_names_of_its_axes():
    weight = Layer().add_param("w", (2, 3), ("d_model", None), "zeros")
    assert weight.dims == ("d_model", None)


def test_plain_float16_is_refused_with_advice():
    with pytest.raises(ValueError, match=r"'float16'.*Use 'mixed_float16'.*bfloat16"):
        FeedForward(8, dtype="float16")
