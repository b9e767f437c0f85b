"""English sentences to classify, as text to text: `sst2`, `trec` and `subj`.

Stanford Sentiment Treebank (two classes), TREC question types (six) and the
subjectivity data of Pang and Lee (two). Files, in the folder that the environment
variable KERAS_SWITCH_DATA names: `<task>/train.tsv`, `dev.tsv` and `test.tsv`, with a
head line and the columns `sentence` and `label`, a number. They are the splits `train`,
`validation` and `test`.
"""

import functools

from keras_switch.data import environment, folders, vocabularies
from keras_switch.data.text_source import TextSource

seqio = environment.load("seqio")
postprocessors = environment.load("t5.data.postprocessors")
metrics = environment.load("t5.evaluation.metrics")

LABELS = {
    "sst2": ("negative", "positive"),
    "subj": ("subjective", "objective"),
    "trec": ("description", "entity", "abbreviation", "person", "place", "number"),
}
_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}


def _rows(task, split):
    path = folders.data_file(task, _FILES[split])
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    return [_row(task, *line.rsplit("\t", 1)) for line in lines]


def _row(task, sentence, label):
    return {
        "inputs": f"{task} sentence: {sentence.strip()}",
        "targets": LABELS[task][int(label)],
    }


def _add(task):
    feature = seqio.Feature(vocabularies.embedded_vocabulary(), add_eos=True)
    seqio.TaskRegistry.add(
        task,
        source=TextSource(functools.partial(_rows, task), tuple(_FILES)),
        output_features={"inputs": feature, "targets": feature},
        preprocessors=[
            seqio.preprocessors.tokenize,
            seqio.CacheDatasetPlaceholder(),
            seqio.preprocessors.append_eos_after_trim,
        ],
        postprocess_fn=functools.partial(
            postprocessors.string_label_to_class_id, label_classes=LABELS[task]
        ),
        metric_fns=[metrics.accuracy],
    )


for _task in LABELS:
    _add(_task)
