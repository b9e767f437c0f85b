"""Files of the user's own as tasks, with no Python: all is said where a run is."""

import dataclasses
import difflib
import functools
import string
from collections.abc import Mapping, Sequence

from keras_switch.data import environment, records, vocabularies
from keras_switch.data.objectives import OBJECTIVES, text_task
from keras_switch.data.pairs import pairs
from keras_switch.data.task_spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class FileTask(TaskSpec):
    """Pairs of texts out of TSV or JSON-lines files; see `records.py` for the formats.

    Columns are named in braces: `inputs="question: {question}"`. A value of JSON that
    is a list holds several right answers; the first of them is learnt.

    Args:
        files: path of the file of each split.
        inputs: how an input text is written.
        targets: how a target text is written.
        labels: the only targets there may be; empty for any.
        metrics: names of functions in `t5.evaluation.metrics`, such as `accuracy`,
            `bleu`, `rouge`, `squad`.
        name: for logs and results.

    Raises:
        ValueError: if there is no file or no such metric.
    """

    files: Mapping[str, str]
    inputs: str = "{inputs}"
    targets: str = "{targets}"
    labels: Sequence[str] = ()
    metrics: Sequence[str] = ("accuracy",)
    name: str = "file"

    def __post_init__(self):
        _check_files(self)

    def task(self, vocabulary=None):
        """Returns the `seqio.Task`; the vocabulary is the embedded one by default."""
        from keras_switch.data.text_source import TextSource

        source = TextSource(self.rows, tuple(self.files))
        vocabulary = vocabulary or vocabularies.embedded_vocabulary()
        metrics = [_metric(name) for name in self.metrics]
        arguments = pairs(source, (), vocabulary, metrics, self._postprocess())
        return environment.load("seqio").Task(self.name, **arguments)

    def rows(self, split: str) -> list[dict]:
        """Returns the examples of a split, inputs and targets as they are written."""
        path = self.files[split]
        examples = [self._row(f"{path}:{n}", row) for n, row in records.rows(path)]
        _check_rows(examples, split, path)
        if any(records.ANSWERS in example for example in examples):
            for example in examples:
                example.setdefault(records.ANSWERS, [example["targets"]])
        return examples

    def _row(self, place, row):
        answers = self._answers(place, row)
        first = {key: values[0] for key, values in answers.items()}
        targets = _written(self.targets, row | first, place)
        if self.labels and targets not in self.labels:
            near = difflib.get_close_matches(targets, self.labels, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{place}: the target {targets!r} is none of the labels "
                f"{', '.join(map(repr, self.labels))}.{hint}"
            )
        example = {"inputs": _written(self.inputs, row, place), "targets": targets}
        for values in answers.values():
            example[records.ANSWERS] = [str(answer) for answer in values]
        return example

    def _answers(self, place, row):
        """Returns the columns of the targets that hold lists: no more than one."""
        columns = {key: row.get(key) for key in _columns(self.targets)}
        lists = {
            key: value for key, value in columns.items() if isinstance(value, list)
        }
        if len(lists) > 1 or not all(lists.values()):
            raise ValueError(
                f"{place}: the targets must hold one list of answers, not empty, but "
                f"hold {lists}."
            )
        return lists

    def _postprocess(self):
        """Returns what turns decoded text into what the metrics compare."""
        postprocessors = environment.load("t5.data.postprocessors")
        if self.labels:
            return functools.partial(
                postprocessors.string_label_to_class_id,
                label_classes=tuple(self.labels),
            )
        return _all_answers


@dataclasses.dataclass(frozen=True)
class TextFileTask(TaskSpec):
    """Plain text out of files, a document on each line: span corruption and its kin.

    Args:
        files: path of the file of each split.
        objective: `"span_corruption"`, `"prefix_lm"` or `"lm"`.
        text: how a document is written, columns in braces.
        name: for logs and results.

    Raises:
        ValueError: if there is no file or no such objective.
    """

    files: Mapping[str, str]
    objective: str = OBJECTIVES[0]
    text: str = "{text}"
    name: str = "text_file"

    def __post_init__(self):
        _check_files(self)

    def task(self, vocabulary=None):
        """Returns the `seqio.Task`; the vocabulary is the embedded one by default."""
        from keras_switch.data.text_source import TextSource

        source = TextSource(self.rows, tuple(self.files))
        vocabulary = vocabulary or vocabularies.embedded_vocabulary()
        arguments = text_task(source, vocabulary, self.objective)
        return environment.load("seqio").Task(self.name, **arguments)

    def rows(self, split: str) -> list[dict]:
        """Returns the documents of a split."""
        path = self.files[split]
        documents = [
            {"text": _written(self.text, row, f"{path}:{n}")}
            for n, row in records.rows(path)
        ]
        _check_rows(documents, split, path)
        return documents


def _check_files(task):
    if not task.files:
        raise ValueError(
            f"{type(task).__name__}.files is empty: give the file of each split, such "
            "as {'train': 'train.tsv', 'validation': 'dev.tsv'}."
        )


def _check_rows(rows, split, path):
    if not rows:
        raise ValueError(f"Split {split!r} is empty: there is no row in {path}.")


def _columns(pattern):
    """Returns the columns that a pattern names."""
    return [name for _, name, _, _ in string.Formatter().parse(pattern) if name]


def _written(pattern, row, place):
    """Returns a pattern with the columns of a row filled in."""
    missing = [name for name in _columns(pattern) if name not in row]
    if missing:
        raise ValueError(
            f"{place}: there is no column {missing[0]!r}, which {pattern!r} names. "
            f"Columns here: {', '.join(map(repr, row))}."
        )
    return pattern.format_map({key: str(value) for key, value in row.items()})


def _all_answers(answer, example=None, is_target=False):
    """Returns a prediction as it is, and of a target all right answers, if several."""
    if is_target and records.ANSWERS in example:
        return [text.decode() for text in example[records.ANSWERS]]
    return answer


def _metric(name):
    """Returns a function of `t5.evaluation.metrics`."""
    metrics = environment.load("t5.evaluation.metrics")
    found = getattr(metrics, name, None)
    if not callable(found):
        known = [n for n in dir(metrics) if callable(getattr(metrics, n))]
        near = difflib.get_close_matches(name, known, 3)
        hint = f" Did you mean {', '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"t5 has no metric {name!r}.{hint}")
    return found
