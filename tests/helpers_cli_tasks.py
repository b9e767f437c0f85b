"""A SeqIO task of a few bytes, for runs of a few steps; named by MODULES in tests."""

import seqio
import tensorflow as tf

PHRASES = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in "ij"]
FEATURE = seqio.Feature(seqio.ByteVocabulary(), add_eos=True)


def _dataset(split, shuffle_files=False, seed=None):
    del shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(
        PHRASES[:24] if split == "train" else PHRASES[24:]
    )


def _pair(dataset):
    return dataset.map(lambda text: {"inputs": text, "targets": text})


seqio.TaskRegistry.add(
    "toy_copy",
    source=seqio.FunctionDataSource(_dataset, splits=("train", "validation")),
    preprocessors=[
        _pair,
        seqio.preprocessors.tokenize,
        seqio.preprocessors.append_eos_after_trim,
    ],
    output_features={"inputs": FEATURE, "targets": FEATURE},
    metric_fns=[],
)
