"""A SeqIO source over rows that fit in memory."""

import tensorflow as tf

from keras_switch.data import environment

seqio = environment.load("seqio")


class TextSource(seqio.DataSource):
    """Examples of strings, read when a split is first used.

    Shuffling draws a permutation of row numbers, new in every epoch: an even shuffle,
    and the position of an iterator is small on disk whatever the size of the text.
    Clients get every n-th row, so that each prepares only its own.

    Args:
        read: function from the name of a split to a sequence of rows, each a dictionary
            of strings, or of lists of strings.
        splits: names of the splits.

    Raises:
        ValueError: from `get_dataset`, if a split has no rows.
    """

    def __init__(self, read, splits):
        super().__init__(splits)
        self._read = read

    supports_arbitrary_sharding = True

    def num_rows(self, split: str) -> int:
        """Returns how many rows a split has.

        `num_input_examples` leaves that open: SeqIO would keep the rows of a small
        split in memory in the order of their first epoch.
        """
        return len(self._read(split))

    def list_shards(self, split):
        return [split]

    def get_dataset(
        self, split="train", shuffle=True, seed=None, shard_info=None, **unused
    ):
        rows = self._read(split)
        if not rows:
            raise ValueError(f"Split {split!r} is empty: there is no row to read.")
        numbers = tf.data.Dataset.range(len(rows))
        if shard_info:
            numbers = numbers.shard(shard_info.num_shards, shard_info.index)
        if shuffle:
            numbers = numbers.shuffle(len(rows), seed=seed)
        columns = {key: _column([row[key] for row in rows]) for key in rows[0]}
        return numbers.map(
            lambda i: {key: column[i] for key, column in columns.items()}
        )


def _column(values):
    """Returns the values of a column, those of lists as rows of different lengths."""
    if isinstance(values[0], str):
        return tf.constant(values)
    return tf.ragged.constant(values)
