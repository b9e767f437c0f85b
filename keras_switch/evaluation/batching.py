"""Examples of SeqIO's evaluator as batches of one shape. Axes: B batch, L length."""

import numpy as np


def batched(dataset, size: int):
    """Yields numbers of examples, and batches filled up with zeros to `size` rows.

    So that a function of batches is traced once.

    Args:
        dataset: `tf.data.Dataset` of pairs: the number of an example, its features.
        size: B, rows of a batch.
    """
    for numbers, features in dataset.batch(size).as_numpy_iterator():
        missing = size - len(numbers)
        yield (
            [int(number) for number in numbers],
            {name: _filled_up(x, missing) for name, x in features.items()},
        )


def _filled_up(x, missing):
    return np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)])
