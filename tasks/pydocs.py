"""The embedded corpus: runs everywhere, with no download.

Tasks `pydocs_span_corruption`, `pydocs_prefix_lm` and `pydocs_lm`, splits `train` and
`validation`.
"""

from keras_switch.data import corpus, vocabularies
from keras_switch.data.objectives import add_text_tasks
from keras_switch.data.text_source import TextSource


def _rows(split):
    return [{"text": text} for text in corpus.documents(split)]


add_text_tasks(
    "pydocs",
    TextSource(_rows, corpus.SPLITS),
    vocabularies.embedded_vocabulary(),
)
