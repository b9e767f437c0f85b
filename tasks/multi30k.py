"""Captions in four languages (Multi30k, arXiv:1605.00459), written as T5 writes it.

Tasks `multi30k_<from>_<to>` of English, German, French and Czech (`en`, `de`, `fr`,
`cs`), such as `multi30k_en_de`: `translate English to German: ...`, scored with BLEU;
and the mixtures `multi30k`, all twelve directions, and `multi30k_from_english`, three.
Files, in the folder that the environment variable KERAS_SWITCH_DATA names:

    multi30k/train.<language>.gz                split `train`, 29,000 sentences
    multi30k/val.<language>.gz                  split `validation`
    multi30k/test_2016_flickr.<language>.gz     split `test`

The vocabulary is made of the training sentences of all four languages.
"""

import functools
import gzip
import itertools

from keras_switch.data import environment, folders
from keras_switch.data.corpus_vocabulary import CorpusVocabulary
from keras_switch.data.mixing import Equal, add_mixture
from keras_switch.data.pairs import add_pairs
from keras_switch.data.text_source import TextSource

LANGUAGES = ("en", "de", "fr", "cs")
_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


def vocabulary():
    """Returns the vocabulary of the four languages, 2,048 ids."""
    return CorpusVocabulary("multi30k", all_sentences, 2048)


def all_sentences():
    """Returns the training sentences of the four languages."""
    return [s for language in LANGUAGES for s in _sentences("train", language)]


def _sentences(split, language):
    path = folders.data_file("multi30k", f"{_FILES[split]}.{language}.gz")
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def rows(source, target, split):
    """Returns `{language: sentence}` of two languages for every line of a split."""
    columns = _sentences(split, source), _sentences(split, target)
    if len(columns[0]) != len(columns[1]):
        raise ValueError(
            f"multi30k: split {split!r} has {len(columns[0])} sentences of {source!r}, "
            f"but {len(columns[1])} of {target!r}: line n of both must be the same."
        )
    return [{source: a, target: b} for a, b in zip(*columns, strict=True)]


def _add(source, target):
    translate = functools.partial(
        environment.load("t5.data.preprocessors").translate,
        source_language=source,
        target_language=target,
    )
    pairs = functools.partial(rows, source, target)
    bleu = environment.load("t5.evaluation.metrics").bleu
    name = f"multi30k_{source}_{target}"
    add_pairs(name, TextSource(pairs, tuple(_FILES)), [translate], vocabulary(), [bleu])
    return name


_names = [_add(*pair) for pair in itertools.permutations(LANGUAGES, 2)]
add_mixture("multi30k", _names, Equal())
add_mixture(
    "multi30k_from_english",
    [n for n in _names if n.startswith("multi30k_en_")],
    Equal(),
)
