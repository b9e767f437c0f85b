"""WikiText-2 (arXiv:1609.07843) out of files on this machine.

Tasks `wikitext2_span_corruption`, `wikitext2_prefix_lm` and `wikitext2_lm`. Files, in
the folder that the environment variable KERAS_SWITCH_DATA names:

    wikitext2/valid.txt    split `train`
    wikitext2/test.txt     split `validation`

The vocabulary is that of the embedded corpus; `DataConfig.vocabulary` takes another.
"""

import re

from keras_switch.data import folders, vocabularies
from keras_switch.data.objectives import add_text_tasks
from keras_switch.data.text_source import TextSource

_FILES = {"train": "valid.txt", "validation": "test.txt"}
_TITLE = re.compile(r"(?m)^(?= = [^=\n]+ = $)")  # before " = Title = "


def articles(split):
    """Returns `{"text": article}` for every article of a split."""
    text = folders.data_file("wikitext2", _FILES[split]).read_text(encoding="utf-8")
    found = (" ".join(article.split()) for article in _TITLE.split(text))
    return [{"text": article} for article in found if article]


add_text_tasks(
    "wikitext2",
    TextSource(articles, tuple(_FILES)),
    vocabularies.embedded_vocabulary(),
)
