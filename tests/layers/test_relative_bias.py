import numpy as np
import pytest
from helpers_layers import array

from keras_switch.layers import RelativeBias
from keras_switch.layers.relative_bias import relative_position_buckets

CASES = [
    ("hf/relative_position_buckets.npz", "nb32_md128_{}", 32, 128),
    ("hf/relative_position_buckets.npz", "nb16_md40_{}", 16, 40),
    ("hf/relative_position_buckets.npz", "nb8_md20_{}", 8, 20),
    ("mtf/misc_units.npz", "buckets|nb32|md128|{}", 32, 128),
    ("mtf/misc_units.npz", "buckets|nb16|md40|{}", 16, 40),
    ("flaxformer/misc.npz", "buckets|nb32|md128|{}", 32, 128),
    ("flaxformer/misc.npz", "buckets|nb16|md40|{}", 16, 40),
]


@pytest.mark.parity
@pytest.mark.parametrize(("file", "key", "buckets", "distance"), CASES)
def test_buckets_equal_the_originals(goldens, file, key, buckets, distance):
    with np.load(goldens / file) as golden:
        offsets = golden[key.format("relpos")]
        for direction, both in (("bi", True), ("uni", False)):
            ours = relative_position_buckets(offsets, buckets, distance, both)
            np.testing.assert_array_equal(ours, golden[key.format(direction)])


@pytest.mark.parity
def test_the_bias_of_a_pair_is_that_of_its_distance():
    layer = RelativeBias(3, num_buckets=8, max_distance=20)
    bias = array(layer(np.arange(5), np.arange(7)))
    assert bias.shape == (1, 3, 5, 7)
    table = array(layer.embedding)
    for query, key in np.ndindex(5, 7):
        bucket = int(relative_position_buckets(np.array(key - query), 8, 20, True))
        np.testing.assert_array_equal(bias[0, :, query, key], table[:, bucket])
    # A later query alone, as in decoding, has the row it has in the whole square.
    np.testing.assert_array_equal(
        array(layer(np.array([3]), np.arange(7)))[0, :, 0], bias[0, :, 3]
    )


def test_the_table_starts_glorot_uniform():
    layer = RelativeBias(8)
    layer.build()
    limit = (6 / (8 + 32)) ** 0.5
    values = array(layer.embedding)
    assert np.abs(values).max() <= limit
    np.testing.assert_allclose(values.std(), limit / 3**0.5, rtol=0.15)


@pytest.mark.parametrize("arguments", [{"num_buckets": 3}, {"max_distance": 8}])
def test_buckets_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"give at least 4 buckets, and a distance"):
        RelativeBias(2, **arguments)
