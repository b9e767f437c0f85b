"""C4, the web text that T5 and the Switch Transformer are trained on.

Tasks `c4_span_corruption`, `c4_prefix_lm` and `c4_lm`. The Switch paper (section 2.4)
trains on span corruption, 15 % of the tokens in spans of three on average, of a C4
without repeated text within an example: from version 2.3.0 on, TensorFlow Datasets
drops repeated lines of a page. Run with 512 inputs and 114 targets.
"""

from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.objectives import add_text_tasks
from keras_switch.data.published import PublishedVocabulary

BY_HAND = (
    "it is made of hundreds of gigabytes of web pages and needs Apache Beam on many "
    "machines, so it is never prepared by itself."
)

add_text_tasks(
    "c4",
    CatalogueSource("c4/en:3.1.0", ("train", "validation"), BY_HAND),
    PublishedVocabulary("t5"),
)
