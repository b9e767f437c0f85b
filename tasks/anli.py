"""Adversarial NLI (arXiv:1910.14599), third round: task `anli_r3`.

Written as T5 writes entailment: `anli_r3 hypothesis: ... context: ...`, the answer a
word. Accuracy.
"""

import functools

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

LABELS = ("entailment", "neutral", "contradiction")

add_pairs(
    "anli_r3",
    CatalogueSource("anli/r3:0.1.0", ("train", "validation", "test")),
    [
        functools.partial(
            environment.load("t5.data.preprocessors").glue,
            benchmark_name="anli_r3",
            label_names=LABELS,
            feature_names=("hypothesis", "context"),
            id_key="uid",
        )
    ],
    PublishedVocabulary("t5"),
    [environment.load("t5.evaluation.metrics").accuracy],
    functools.partial(
        environment.load("t5.data.postprocessors").string_label_to_class_id,
        label_classes=LABELS,
    ),
)
