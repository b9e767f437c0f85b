"""Natural Questions without their texts, from files on this machine: task `nq_open`.

Files, in the folder that the environment variable KERAS_SWITCH_DATA names, a question
and a list of answers on each line:

    nq_open/NQ-open.dev.jsonl                    split `train`
    nq_open/NQ-open.efficientqa.dev.1.1.jsonl    split `validation`

Written and scored as `natural_questions`, whose whole training data is not among them.
"""

from keras_switch.data import environment, folders, vocabularies
from keras_switch.data.file_task import FileTask
from keras_switch.data.pairs import add_pairs
from keras_switch.data.text_source import TextSource

_FILES = {
    "train": "NQ-open.dev.jsonl",
    "validation": "NQ-open.efficientqa.dev.1.1.jsonl",
}


def rows(split):
    """Returns questions and answers of a split, as T5 writes them."""
    path = str(folders.data_file("nq_open", _FILES[split]))
    return FileTask({split: path}, "nq question: {question}", "{answer}").rows(split)


add_pairs(
    "nq_open",
    TextSource(rows, tuple(_FILES)),
    (),
    vocabularies.embedded_vocabulary(),
    [environment.load("t5.evaluation.metrics").squad],
    environment.load("t5.data.postprocessors").qa,
)
