"""What a run reads: a task, lengths, a batch size, an order."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_switch.data.task_spec import TaskSpec


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The batches of a run. Equal configs give equal batches, in every process.

    Args:
        task: name of a SeqIO task or mixture, registered by importing its module; or a
            `FileTask`, `TextFileTask` or `TaskMixture`; or a `seqio.Task`.
        lengths: tokens a row has room for, by feature of the task; features that the
            model does not read are passed over.
        batch_size: rows of a batch, over all shards.
        split: split of the task.
        pack: whether several examples share a row; they never see each other.
        seed: of the order and of whatever the task draws at random.
        shuffle: whether the order is random.
        num_epochs: passes over the data; `None` goes on for ever. When they end, the
            last batch is filled up with rows of weight zero.
        readers: parts in which an endless run reads the examples; each gives its share
            of the rows of every batch. The batches depend on it, not on how many
            processes there are. With 1, every process prepares all rows and keeps its
            own; as many readers as processes each prepare only theirs.
        vocabulary: `seqio.Vocabulary` in place of the task's own; `None` keeps that.
        cut: features of which a sequence may be longer than `lengths` and is cut; of
            others that is an error. Objectives on text always fill the lengths.
        cache: folder that `keras-switch cache` or `seqio_cache_tasks` wrote; `None`
            prepares examples as they are needed.

    Raises:
        ValueError: naming every mistake at once.
    """

    task: str | TaskSpec
    lengths: Mapping[str, int] = dataclasses.field(
        default_factory=lambda: {"inputs": 128, "targets": 32}
    )
    batch_size: int = 32
    split: str = "train"
    pack: bool = True
    seed: int = 0
    shuffle: bool = True
    num_epochs: int | None = None
    readers: int = 1
    vocabulary: Any = None
    cut: Sequence[str] = ("inputs",)
    cache: str | None = None

    def __post_init__(self):
        mistakes = [*self._mistakes()]
        if mistakes:
            raise ValueError(
                f"DataConfig of task {self.task_name!r}: {'; '.join(mistakes)}"
            )

    @property
    def task_name(self) -> str:
        """Returns the name of the task, for logs and results."""
        return getattr(self.task, "name", self.task)

    def for_evaluation(self, split: str = "validation") -> "DataConfig":
        """Returns the config of one ordered pass over another split."""
        return dataclasses.replace(self, split=split, shuffle=False, num_epochs=1)

    def _mistakes(self):
        if not (isinstance(self.task_name, str) and self.task_name):
            yield "task must be the name of a SeqIO task or mixture, or a FileTask"
        if not _is_positive(self.batch_size):
            yield f"batch_size is {self.batch_size!r}, give a whole number above 0"
        if not _is_positive(self.readers):
            yield f"readers is {self.readers!r}, give a whole number above 0"
        elif _is_positive(self.batch_size) and self.batch_size % self.readers:
            yield (
                f"batch_size is {self.batch_size}, which {self.readers} readers cannot "
                f"share: give a multiple of {self.readers}"
            )
        if not (self.num_epochs is None or _is_positive(self.num_epochs)):
            yield (
                f"num_epochs is {self.num_epochs!r}, give a whole number above 0, or "
                "None for no end"
            )
        if isinstance(self.vocabulary, str):
            yield (
                f"vocabulary is the path {self.vocabulary!r}, give "
                "keras_switch.data.vocabulary(path)"
            )
        if not self.lengths:
            yield "lengths is empty, give the tokens of each feature"
        for feature, length in dict(self.lengths).items():
            if not _is_positive(length):
                yield (
                    f"lengths[{feature!r}] is {length!r}, give a whole number above 0"
                )


def _is_positive(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
