"""News and their summaries: `cnn_dailymail` (arXiv:1704.04368), `xsum` (1808.08745).

The text is T5's, `summarize: <article>`, and so is the metric, ROUGE; the Switch paper
reports ROUGE-2 (table 5).
"""

import functools

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

preprocessors = environment.load("t5.data.preprocessors")
metrics = environment.load("t5.evaluation.metrics")

SPLITS = ("train", "validation", "test")
XSUM_BY_HAND = (
    "its articles are collected with the scripts of the authors "
    "(https://github.com/EdinburghNLP/XSum), then put into downloads/manual of the "
    "data folder as xsum-extracts-from-downloads.tar.gz."
)


def _add(name, source, article, summary):
    summarize = functools.partial(
        preprocessors.summarize, article_key=article, summary_key=summary
    )
    vocabulary = PublishedVocabulary("t5")
    add_pairs(name, source, [summarize], vocabulary, [metrics.rouge])


_add(
    "cnn_dailymail",
    CatalogueSource("cnn_dailymail:3.4.0", SPLITS),
    "article",
    "highlights",
)
_add(
    "xsum",
    CatalogueSource("xsum:1.1.0", SPLITS, XSUM_BY_HAND),
    "document",
    "summary",
)
