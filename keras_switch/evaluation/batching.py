"""Examples of SeqIO's evaluator as batches of one shape. Axes: B batch, L length."""

import numpy as np

from keras_switch.partitioning.clients import ALONE


def batched(dataset, size: int, share=ALONE.share):
    """Yields numbers of examples, and batches filled up with zeros to `size` rows.

    So that a function of batches is traced once.

    Args:
        dataset: `tf.data.Dataset` of pairs: the number of an example, its features.
        size: B, rows of a batch.
        share: the part of the rows of every batch that is wanted; the numbers are those
            of all rows.
    """
    each = size // share.of
    mine = slice(share.index * each, (share.index + 1) * each)
    for numbers, features in dataset.batch(size).as_numpy_iterator():
        missing = size - len(numbers)
        yield (
            [int(number) for number in numbers],
            {name: _filled_up(x, missing)[mine] for name, x in features.items()},
        )


def _filled_up(x, missing):
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
