"""SQuAD 1.1 (arXiv:1606.05250), as T5 writes it: task `squad`.

The answer is text, compared with all answers of annotators: exact match and F1. Text,
postprocessing and metric are those of t5's `squad_v010_allanswers`.
"""

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

add_pairs(
    "squad",
    CatalogueSource("squad/v1.1:3.0.0", ("train", "validation")),
    [environment.load("t5.data.preprocessors").squad],
    PublishedVocabulary("t5"),
    [environment.load("t5.evaluation.metrics").squad],
    environment.load("t5.data.postprocessors").qa,
)
