"""Rows of tables: names, and parts of weights read from parts of files."""

import numpy as np
import pytest

from keras_switch.convert.source import Arrays
from keras_switch.convert.table import Row, Table
from keras_switch.models import WeightCount

ROWS = (
    Row("{stack}/block_{i}/mixer/query", "{stack}.{i}.q", transposed=True),
    Row("{stack}/block_{i}/mixer/output", "{at}.o"),
    Row("{stack}/block_{i}/{stack}_{i}/experts/wi", "{at}.{e}.wi", transposed=True),
    Row("{stack}/block_{i}/{stack}_{i}/experts/wo", "{at}.wo"),
)
PLAIN = Table("test", ROWS, lambda stack, i: {"at": f"{stack}[{i}]"})
STACKED = Table("test", ROWS, lambda stack, i: {"at": stack, "layer": i})


def weight(path, shape, dims):
    return WeightCount(path, shape, dims, 0, 0)


QUERY = weight("encoder/block_2/mixer/query", (5, 3, 2), ("d_model", "heads", "d_kv"))
OUTPUT = weight("encoder/block_2/mixer/output", (3, 2, 5), ("heads", "d_kv", "d_model"))
WI = weight(
    "decoder/block_1/decoder_1/experts/wi", (4, 5, 6), ("experts", "d_model", "d_ff")
)
WO = weight(
    "decoder/block_1/decoder_1/experts/wo", (4, 6, 5), ("experts", "d_ff", "d_model")
)


def test_names_follow_from_paths():
    assert PLAIN.match(QUERY).names == ("encoder.2.q",)
    assert PLAIN.match(OUTPUT).names == ("encoder[2].o",)
    assert PLAIN.match(WI).names == tuple(f"decoder[1].{e}.wi" for e in range(4))
    assert PLAIN.match(
        weight("encoder/block_1/decoder_1/experts/wi", (4, 5, 6), ())
    ) is (None)
    assert PLAIN.match(weight("encoder/block_x/mixer/query", (), ())) is None


def test_shapes_there_have_heads_and_their_size_on_one_axis():
    assert PLAIN.match(QUERY).tensor_shape() == (6, 5)
    assert PLAIN.match(OUTPUT).tensor_shape() == (6, 5)
    assert PLAIN.match(WI).tensor_shape() == (6, 5)
    assert STACKED.match(WO).tensor_shape() == (4, None, 6, 5)


def test_a_transposed_kernel_of_heads_is_turned_by_hand():
    theirs = np.arange(30.0).reshape(6, 5)  # (head 0's two rows, head 1's, head 2's)
    ours = PLAIN.match(QUERY).read(Arrays({"encoder.2.q": theirs}))
    assert ours[4, 1, 0] == theirs[2, 4]
    assert ours[0, 2, 1] == theirs[5, 0]


def tensors(table, weight, value):
    match = table.match(weight)
    if match.layer is None:
        return dict(match.pieces(value))
    filled = {}
    for name, piece in match.pieces(value):
        stack = [np.full_like(piece, np.nan)] * match.layer + [piece]
        filled[name] = np.stack(stack, axis=match.layer_axis)
    return filled


@pytest.mark.parametrize("table", [PLAIN, STACKED], ids=["plain", "stacked"])
@pytest.mark.parametrize("weight", [QUERY, OUTPUT, WI, WO], ids=lambda w: w.path)
def test_any_part_of_a_weight_is_read_as_it_was_written(table, weight):
    value = np.random.default_rng(0).random(weight.shape).astype("float32")
    source, match = Arrays(tensors(table, weight, value)), table.match(weight)
    np.testing.assert_array_equal(match.read(source), value)
    for where in (
        (slice(1, 3), slice(None), slice(None)),
        (slice(None), slice(1, 2), slice(None)),
        (slice(0, 2), slice(1, 2), slice(0, 1)),
        (slice(None), slice(None), slice(1, 2)),
    ):
        np.testing.assert_array_equal(match.read(source, where), value[where])


def test_only_the_experts_asked_for_are_read():
    class Watched(Arrays):
        def read(self, name, where=None):
            seen.append(name)
            return super().read(name, where)

    seen, value = [], np.zeros(WI.shape, "float32")
    part = (slice(1, 3), slice(None), slice(None))
    PLAIN.match(WI).read(Watched(tensors(PLAIN, WI, value)), part)
    assert seen == ["decoder[1].1.wi", "decoder[1].2.wi"]


def test_one_expert_is_still_a_stack_of_one():
    one = weight(WI.path, (1, 5, 6), WI.dims)
    assert PLAIN.match(one).tensor_shape() == (6, 5)
    value = np.ones((1, 5, 6), "float32")
    read = PLAIN.match(one).read(Arrays(tensors(PLAIN, one, value)))
    np.testing.assert_array_equal(read, value)
