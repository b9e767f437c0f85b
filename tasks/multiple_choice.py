"""Questions with choices: ARC (arXiv:1803.05457) and Winogrande (arXiv:1907.10641).

Tasks `arc_easy`, `arc_challenge` and `winogrande`: the model writes the right choice.
Tasks `arc_easy_rank`, `arc_challenge_rank` and `winogrande_rank`: the choice is the one
that the model finds most likely, and nothing is written. Accuracy in both.

t5 defines none of these; the texts follow its style, a name and columns with colons.
The Switch paper trains on all of Winogrande, the split `train_xl`.
"""

import functools

import tensorflow as tf

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

seqio = environment.load("seqio")
preprocessors = environment.load("t5.data.preprocessors")
postprocessors = environment.load("t5.data.postprocessors")
metrics = environment.load("t5.evaluation.metrics")

LETTERS = ("A", "B", "C", "D", "E", "1", "2", "3", "4", "5")  # of TFDS, in its order


def arc_question(x):
    """Returns the input text: `arc question: ... choices: (A) ... (B) ...`."""
    letters = tf.gather(tf.constant(LETTERS), x["choices"]["label"])
    choices = tf.strings.join(["(", letters, ") ", x["choices"]["text"]])
    choices = tf.strings.reduce_join(choices, separator=" ")
    return tf.strings.join(["arc question: ", x["question"], " choices: ", choices])


def arc_correct(x):
    """Returns which choices are right, `(choices,)` bool."""
    return tf.equal(x["choices"]["label"], x["answerKey"])


def winogrande_question(x):
    """Returns the input text: `winogrande: ..._... option1: ... option2: ...`."""
    parts = ["winogrande: ", x["sentence"], " option1: ", x["option1"]]
    return tf.strings.join([*parts, " option2: ", x["option2"]])


def winogrande_correct(x):
    """Returns which choices are right, `(2,)` bool; none where it is not known."""
    return tf.equal(tf.constant([0, 1], tf.int64), tf.cast(x["label"], tf.int64))


def _choices_of_arc(x):
    return x["choices"]["text"]


def _choices_of_winogrande(x):
    return tf.stack([x["option1"], x["option2"]])


def _write(dataset, question, choices, correct):
    """Returns pairs of a question and the right choice."""

    def pair(x):
        right = tf.boolean_mask(choices(x), correct(x))
        answer = tf.strings.reduce_join(right[:1])  # empty where it is not known
        return {"inputs": question(x), "targets": answer}

    return dataset.map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def _rank(dataset, question, choices, correct):
    """Returns pairs of a question and each of its choices."""

    def questions(x):
        return tf.repeat(question(x)[tf.newaxis], tf.size(choices(x)))

    return preprocessors.rank_classification(dataset, questions, choices, correct)


def _add(name, source, *parts):
    vocabulary = PublishedVocabulary("t5")
    keywords = dict(zip(("question", "choices", "correct"), parts, strict=True))
    add_pairs(
        name,
        source,
        [functools.partial(_write, **keywords)],
        vocabulary,
        [metrics.accuracy],
        postprocessors.lower_text,
    )
    add_pairs(
        f"{name}_rank",
        source,
        [functools.partial(_rank, **keywords)],
        vocabulary,
        [metrics.rank_classification],
        postprocessors.rank_classification,
    )


for _task, _config in {
    "arc_easy": "ARC-Easy",
    "arc_challenge": "ARC-Challenge",
}.items():
    _add(
        _task,
        CatalogueSource(f"ai2_arc/{_config}:1.0.0", ("train", "validation", "test")),
        arc_question,
        _choices_of_arc,
        arc_correct,
    )
_add(
    "winogrande",
    CatalogueSource(
        "winogrande:1.2.0",
        {"train": "train_xl", "validation": "validation", "test": "test"},
    ),
    winogrande_question,
    _choices_of_winogrande,
    winogrande_correct,
)
