"""SeqIO tasks of a few letters, for runs of a few steps; named by MODULES in tests."""

import seqio
import tensorflow as tf

from keras_switch.data.corpus_vocabulary import CorpusVocabulary

PHRASES = [f"{a} {b} {c}" for a in "abcd" for b in "efgh" for c in "ij"]
VOCABULARIES = {
    "toy_copy": seqio.ByteVocabulary(),
    "toy_words": CorpusVocabulary("toy_words", lambda: PHRASES * 20, 116),
}


def _dataset(split, shuffle_files=False, seed=None):
    del shuffle_files, seed
    return tf.data.Dataset.from_tensor_slices(
        PHRASES[:24] if split == "train" else PHRASES[24:]
    )


def _pair(dataset):
    return dataset.map(lambda text: {"inputs": text, "targets": text})


for _name, _vocabulary in VOCABULARIES.items():
    _feature = seqio.Feature(_vocabulary, add_eos=True)
    seqio.TaskRegistry.add(
        _name,
        source=seqio.FunctionDataSource(_dataset, splits=("train", "validation")),
        preprocessors=[
            _pair,
            seqio.preprocessors.tokenize,
            seqio.preprocessors.append_eos_after_trim,
        ],
        output_features={"inputs": _feature, "targets": _feature},
        metric_fns=[],
    )
