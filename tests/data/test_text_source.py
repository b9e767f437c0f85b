import itertools

import pytest
import seqio

from keras_switch.data.text_source import TextSource

ROWS = {"train": [{"text": f"row {i}"} for i in range(10)], "validation": []}


@pytest.fixture
def source():
    return TextSource(ROWS.get, ("train", "validation"))


def read(dataset, count=None):
    rows = itertools.islice(dataset.as_numpy_iterator(), count)
    return [row["text"].decode() for row in rows]


def test_rows_come_in_order_unless_shuffled(source):
    rows = read(source.get_dataset("train", shuffle=False))
    shuffled = read(source.get_dataset("train", shuffle=True, seed=1))
    assert rows == [f"row {i}" for i in range(10)]
    assert sorted(shuffled) == rows != shuffled


def test_the_seed_decides_the_order_and_every_epoch_has_its_own(source):
    def epochs(seed):
        return read(source.get_dataset("train", seed=seed).repeat(2))

    assert epochs(1) == epochs(1) != epochs(2)
    assert epochs(1)[:10] != epochs(1)[10:]


def test_shards_are_every_nth_row(source):
    shards = [
        read(
            source.get_dataset("train", shuffle=False, shard_info=seqio.ShardInfo(i, 3))
        )
        for i in range(3)
    ]
    assert shards[1] == ["row 1", "row 4", "row 7"]
    assert sorted(row for shard in shards for row in shard) == [
        row["text"] for row in ROWS["train"]
    ]


def test_an_empty_split_is_named(source):
    with pytest.raises(ValueError, match="Split 'validation' is empty"):
        source.get_dataset("validation")
