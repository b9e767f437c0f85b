"""English sentences to classify, as text to text: `sst2`, `trec` and `subj`.

Stanford Sentiment Treebank (two classes), TREC question types (six) and the
subjectivity data of Pang and Lee (two). Files, in the folder that the environment
variable KERAS_SWITCH_DATA names: `<task>/train.tsv`, `dev.tsv` and `test.tsv`, with a
head line and the columns `sentence` and `label`, a number. They are the splits `train`,
`validation` and `test`.
"""

import functools

from keras_switch.data import environment, folders, vocabularies
from keras_switch.data.pairs import add_pairs
from keras_switch.data.text_source import TextSource

postprocessors = environment.load("t5.data.postprocessors")
metrics = environment.load("t5.evaluation.metrics")

LABELS = {
    "sst2": ("negative", "positive"),
    "subj": ("subjective", "objective"),
    "trec": ("description", "entity", "abbreviation", "person", "place", "number"),
}
_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def rows(task, split):
    """Returns sentences and labels of a split of `sst2`, `trec` or `subj`."""
    path = folders.data_file(task, _FILES[split])
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    return [_row(task, f"{path}:{n}", line) for n, line in enumerate(lines, 2)]


def _row(task, place, line):
    sentence, tab, label = line.rpartition("\t")
    labels = LABELS[task]
    if not (tab and label.isdecimal() and int(label) < len(labels)):
        raise ValueError(
            f"{place}: a line must be a sentence, a tab and a label, 0 to "
            f"{len(labels) - 1} for {', '.join(labels)}; this one is {line!r}."
        )
    return {
        "inputs": f"{task} sentence: {sentence.strip()}",
        "targets": labels[int(label)],
    }


def _add(task):
    add_pairs(
        task,
        TextSource(functools.partial(rows, task), tuple(_FILES)),
        (),
        vocabularies.embedded_vocabulary(),
        [metrics.accuracy],
        functools.partial(
            postprocessors.string_label_to_class_id, label_classes=LABELS[task]
        ),
    )


for _task in LABELS:
    _add(_task)
