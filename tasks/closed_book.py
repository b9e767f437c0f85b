"""Questions without a text to look the answer up in (arXiv:2002.08910).

Tasks `natural_questions`, `web_questions` and `trivia_qa`, with the prefixes, splits
and metrics of that paper's code: `validation` is cut off the end of the published
training data where ORQA (arXiv:1906.00300) cuts it; `test` is what the Switch paper
reports (table 5). Any of the published answers is right.
"""

import functools

import tensorflow as tf

from keras_switch.data import environment
from keras_switch.data.catalogue import CatalogueSource
from keras_switch.data.pairs import add_pairs
from keras_switch.data.published import PublishedVocabulary

qa = environment.load("t5.data.postprocessors").qa
metrics = environment.load("t5.evaluation.metrics")


def _pair(dataset, prefix, answers):
    """Returns pairs of a question and its first answer, with all `answers`."""

    def pair(x):
        right = answers(x)
        inputs = tf.strings.join([prefix, x["question"]])
        return {"inputs": inputs, "targets": right[0], "answers": right}

    return dataset.map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def _add(name, source, prefix, answers, metric, cut, held_out):
    splits = {
        "train": f"train[:{cut}]",
        "validation": f"train[{cut}:]",
        "test": held_out,
    }
    add_pairs(
        name,
        CatalogueSource(source, splits),
        [functools.partial(_pair, prefix=prefix, answers=answers)],
        PublishedVocabulary("t5"),
        [metric],
        qa,
    )


def _trivia_answers(x):
    first, others = x["answer"]["value"], x["answer"]["aliases"]
    return tf.concat([first[tf.newaxis], others], 0)


_add(
    "natural_questions",
    "natural_questions_open:1.0.0",
    "nq question: ",
    lambda x: x["answer"],
    metrics.squad,
    79_168,
    "validation",
)
_add(
    "web_questions",
    "web_questions:1.0.0",
    "wq question: ",
    lambda x: x["answers"],
    metrics.squad,
    3_417,
    "test",
)
_add(
    "trivia_qa",
    "trivia_qa/unfiltered.nocontext:1.1.0",
    "trivia_qa question: ",
    _trivia_answers,
    metrics.trivia_qa,
    78_785,
    "validation",
)
