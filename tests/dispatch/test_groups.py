"""Routing groups."""

import keras
import numpy as np
import pytest
from helpers_dispatch import ON_JAX, numpy

from keras_switch.dispatch import (
    BySequence,
    FixedGroups,
    FlaxformerGroups,
    MeshTensorFlowGroups,
)


def numbered(batch, length):
    return np.arange(1.0, 1 + batch * length, dtype="float32").reshape(batch, length, 1)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("groups", "batch", "length", "shape", "padding"),
    [
        (BySequence(), 3, 4, (3, 4), 0),
        (FixedGroups(6), 3, 4, (2, 6), 0),
        (FixedGroups(5), 3, 4, (3, 5), 3),
        (FixedGroups(64), 3, 4, (1, 12), 0),
        (FixedGroups(1), 2, 1, (2, 1), 0),
        # 30 tokens, at most 16: 30 // 16 = 1 group; at most 8: 3 groups of 10.
        (MeshTensorFlowGroups(16), 3, 10, (1, 30), 0),
        (MeshTensorFlowGroups(8), 3, 10, (3, 10), 0),
        # 7 is prime: from 7 // 2 = 3 groups on, only 7 divides.
        (MeshTensorFlowGroups(2), 1, 7, (7, 1), 0),
        # 48 // 12 = 4 groups, a multiple of 4 that divides 48.
        (FlaxformerGroups(12, 4), 4, 12, (4, 12), 0),
        # At least as many groups as experts, however large a group may be.
        (FlaxformerGroups(100, 4), 4, 12, (4, 12), 0),
        # 33 tokens: one more token a sequence (3) or one more sequence (11).
        (FlaxformerGroups(12, 4), 3, 11, (4, 9), 3),
        # 13 tokens of one sequence: 3 more.
        (FlaxformerGroups(12, 4), 13, 1, (4, 4), 3),
    ],
)
def test_tokens_go_into_groups_and_come_back(groups, batch, length, shape, padding):
    x = numbered(batch, length)
    split, mask = groups.split(x, np.ones((batch, length), bool))
    assert tuple(split.shape) == (*shape, 1)
    split, mask = numpy(split), numpy(mask)
    assert (~mask).sum() == padding
    np.testing.assert_array_equal(mask, split[..., 0] > 0)
    np.testing.assert_array_equal(split[mask], x.reshape(-1, 1))  # in order
    np.testing.assert_array_equal(numpy(groups.join(split, like=x)), x)


@pytest.mark.parametrize(
    ("groups", "made"),
    [(BySequence(), False), (FixedGroups(6), False), (FixedGroups(5), True)],
)
def test_a_mask_is_made_only_where_tokens_are_added(groups, made):
    _, mask = groups.split(numbered(3, 4))
    assert (mask is not None) == made


@pytest.mark.skipif(ON_JAX, reason="JAX knows every size")
def test_fixed_groups_take_batches_of_unknown_size():
    import tensorflow as tf

    groups = FixedGroups(5)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 1))])
    def there_and_back(x):
        split, mask = groups.split(x)
        assert split.shape == (None, 5, 1)
        return split, mask, groups.join(split, like=x)

    for batch in (1, 3, 5):
        x = numbered(batch, 4)
        split, mask, back = there_and_back(x)
        assert numpy(split).size == -(-batch * 4 // 5) * 5
        np.testing.assert_array_equal(numpy(mask), numpy(split)[..., 0] > 0)
        np.testing.assert_array_equal(numpy(back), x)


def test_by_sequence_asks_for_a_fixed_length():
    with pytest.raises(ValueError, match=r"\(None, None, 3\).*fixed sequence length"):
        BySequence().check((None, None, 3))


@pytest.mark.parametrize("groups", [MeshTensorFlowGroups(4), FlaxformerGroups(4, 2)])
def test_the_originals_groups_ask_for_fixed_sizes(groups):
    with pytest.raises(ValueError, match=r"\(None, 4, 3\).*fixed batch"):
        groups.split(keras.KerasTensor((None, 4, 3)))


def test_a_group_has_tokens():
    for make in (FixedGroups, MeshTensorFlowGroups, lambda n: FlaxformerGroups(4, n)):
        with pytest.raises(ValueError, match="at least 1"):
            make(0)


@pytest.mark.parametrize(
    "groups",
    [BySequence(), FixedGroups(3), MeshTensorFlowGroups(3), FlaxformerGroups(3, 2)],
    ids=str,
)
def test_groups_survive_saving(groups):
    config = keras.saving.serialize_keras_object(groups)
    assert keras.saving.deserialize_keras_object(config) == groups
