"""Toy SeqIO tasks of given token ids, for tests of the data room."""

import contextlib

import seqio
import tensorflow as tf


@contextlib.contextmanager
def registered(name, examples, preprocessors=(), num_ids=1000, **arguments):
    """Registers a task of these examples, dictionaries of lists of ids, for a while."""
    keys = list(examples[0])

    def dataset(split, shuffle_files=False, seed=None):
        columns = {key: tf.ragged.constant([e[key] for e in examples]) for key in keys}
        rows = tf.data.Dataset.from_tensor_slices(columns)
        return rows if split == "train" else rows.take(0)

    vocabulary = seqio.PassThroughVocabulary(size=num_ids)
    seqio.TaskRegistry.add(
        name,
        source=seqio.FunctionDataSource(dataset, splits=["train", "validation"]),
        output_features={key: seqio.Feature(vocabulary) for key in keys},
        preprocessors=list(preprocessors),
        metric_fns=[],
        **arguments,
    )
    try:
        yield name
    finally:
        seqio.TaskRegistry.remove(name)


def counted(count, first=1):
    """Returns examples that all differ: inputs and targets of one to three ids."""
    return [
        {
            "inputs": [first + i] * (1 + i % 3),
            "targets": [first + i] * (1 + (i + 1) % 3),
        }
        for i in range(count)
    ]
