"""A teacher's answers, computed once and kept as a SeqIO task.

A folder holds `teacher.json` and TFRecords `<split>-00000.tfrecord`, ...: one record
for each row of a batch, its inputs, targets and weights as the student's model takes
them (packed already, words already dropped), and of every target either all logits
(T, V) or the K greatest with their words, (T, K).

Axes: B batch, T length of the targets, V vocabulary, K words that are kept.
"""

import json
import pathlib
import shutil

import numpy as np

from keras_switch.data import environment
from keras_switch.distillation import vocabularies
from keras_switch.distillation.soft_targets import IDS, LOGITS

_FILE = "teacher.json"
_ROWS = 1024  # of one file
TARGETS, WEIGHTS = "targets", "weights"


def is_cache(folder) -> bool:
    """Returns whether `cache_logits` wrote a folder."""
    return pathlib.Path(folder, _FILE).is_file()


def cache_logits(teacher, batches, folder, split="train", top_k=64, steps=None):
    """Asks a teacher about batches and writes what it says.

    Args:
        teacher: see `as_teacher`.
        batches: of `data.batches`, of the teacher's vocabulary.
        folder: where to; a split that is there is an error.
        split: name of the split.
        top_k: words to keep of each target; `None` keeps the logits of all: V / 2K
            times the room.
        steps: batches to take; `None` takes all.

    Returns:
        The number of rows written.

    Raises:
        ValueError: if the split is there already, or of another form than the others.
    """
    from keras_switch.distillation.teachers import as_teacher

    folder, teacher = pathlib.Path(folder), as_teacher(teacher)
    check_is_free(folder, split)
    draft = folder / f".{split}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rows, form = 0, None
    with _Writer(draft, split) as writer:
        for number, (inputs, targets, weights) in enumerate(batches):
            if number == steps:
                break
            logits = np.asarray(teacher(inputs), "float32")
            columns = _columns(inputs, targets, weights, logits, top_k)
            form = {"vocab_size": logits.shape[-1], "features": _features(columns)}
            for row in zip(*columns.values(), strict=True):
                if np.any(row[[*columns].index(WEIGHTS)]):  # not to fill a batch up
                    writer.write(dict(zip(columns, row, strict=True)))
                    rows += 1
    _publish(folder, draft, split, rows, form)
    return rows


def check_is_free(folder, split):
    """Raises `ValueError` if a cache has a split already."""
    if [*pathlib.Path(folder).glob(f"{split}-*.tfrecord")]:
        raise ValueError(f"{folder} has a split {split!r} already: take another name.")


def cached_task(folder, name=None) -> str:
    """Registers a cache as a SeqIO task; returns its name.

    Args:
        folder: of `cache_logits`.
        name: of the task; `None`: `teacher_` and the folder's name.

    Raises:
        ValueError: if there is no cache.
    """
    import tensorflow as tf

    seqio = environment.load("seqio")
    form = form_of(folder)
    name = name or f"teacher_{pathlib.Path(folder).absolute().name}"
    kinds = {key: tf.as_dtype(kind) for key, (kind, _) in form["features"].items()}
    stored = {
        key: tf.io.FixedLenFeature(shape, _stored(kinds[key]))
        for key, (_, shape) in form["features"].items()
    }
    files = sorted({f.name.rsplit("-", 1)[0] for f in _files(folder)})
    if name in seqio.TaskRegistry.names():
        seqio.TaskRegistry.remove(name)
    seqio.TaskRegistry.add(
        name,
        source=seqio.TFExampleDataSource(
            {
                split: str(pathlib.Path(folder, f"{split}-*.tfrecord"))
                for split in files
            },
            stored,
        ),
        preprocessors=[
            lambda rows: rows.map(
                lambda row: {k: tf.cast(v, kinds[k]) for k, v in row.items()}
            )
        ],
        output_features={
            key: seqio.ContinuousFeature(dtype=kinds[key], rank=len(shape))
            for key, (_, shape) in form["features"].items()
        },
        metric_fns=[],
    )
    return name


def cached_batches(
    folder,
    batch_size,
    split="train",
    *,
    shuffle=True,
    seed=0,
    num_epochs=None,
    num_shards=1,
    shard=0,
    model=None,
):
    """Returns batches `(inputs, targets, weights)` with a teacher's logits beside.

    The logits are among the inputs, where `distill` and `Distiller` find them.

    Args:
        folder: of `cache_logits`.
        batch_size: rows of a batch, over all shards.
        split: which.
        shuffle: whether the order is random.
        seed: of the order.
        num_epochs: passes over the rows; `None`: for ever.
        num_shards: processes that share every batch.
        shard: number of this process.
        model: `ModelConfig` of the student, to be checked; `None` checks nothing.

    Raises:
        ValueError: if there is no such split, or the student has another vocabulary.
    """
    seqio = environment.load("seqio")
    form = form_of(folder)
    if model is not None:
        vocabularies.check_size(form["vocab_size"], model.vocab_size)
    task = seqio.get_mixture_or_task(cached_task(folder))
    if split not in task.splits:
        raise ValueError(
            f"{folder} has no split {split!r}, only {', '.join(map(repr, task.splits))}"
            ": ask the teacher about it with cache_logits."
        )
    rows = task.get_dataset(
        None, split=split, shuffle=shuffle, seed=seed, num_epochs=num_epochs
    )
    local = batch_size // num_shards
    mine = slice(shard * local, (shard + 1) * local)
    batches = rows.batch(batch_size, drop_remainder=True)
    return batches.map(lambda x: _triple({k: v[mine] for k, v in x.items()})).prefetch(
        2
    )


def form_of(folder) -> dict:
    """Returns what `teacher.json` says: the vocabulary's size, form of all features.

    Raises:
        ValueError: if there is no cache.
    """
    if not is_cache(folder):
        raise ValueError(
            f"{folder} holds no teacher's logits: there is no {_FILE}. "
            "keras_switch.distillation.cache_logits writes them."
        )
    return json.loads(pathlib.Path(folder, _FILE).read_text())


def _columns(inputs, targets, weights, logits, top_k):
    """Returns a batch as arrays by name, in the order in which they are written."""
    columns = {k: np.asarray(v) for k, v in sorted(inputs.items())}
    columns |= {TARGETS: np.asarray(targets), WEIGHTS: np.asarray(weights)}
    if top_k is None or top_k >= logits.shape[-1]:
        return {**columns, LOGITS: logits}
    ids = np.argsort(-logits, axis=-1, kind="stable")[..., :top_k]
    kept = np.take_along_axis(logits, ids, axis=-1)
    return {**columns, LOGITS: kept, IDS: ids.astype("int32")}


def _features(columns):
    return {k: [v.dtype.name, list(v.shape[1:])] for k, v in columns.items()}


def _triple(row):
    targets, weights = row.pop(TARGETS), row.pop(WEIGHTS)
    return row, targets, weights


def _stored(dtype):
    import tensorflow as tf

    return tf.int64 if dtype.is_integer else tf.float32


def _files(folder):
    return sorted(pathlib.Path(folder).glob("*.tfrecord"))


def _publish(folder, draft, split, rows, form):
    """Moves files to where they are found: all of a split, or none."""
    if not rows:
        shutil.rmtree(draft)
        raise ValueError("There is nothing to ask the teacher about: not one batch.")
    if is_cache(folder) and form_of(folder) != form:
        shutil.rmtree(draft)
        raise ValueError(
            f"{folder} holds rows of another form, {form_of(folder)}, than these, "
            f"{form}: take the same lengths and top_k, or another folder."
        )
    for file in _files(draft):
        file.rename(folder / file.name)
    draft.rmdir()
    (folder / _FILE).write_text(json.dumps(form, indent=2) + "\n")


class _Writer:
    """Writes rows into files of some thousand each."""

    def __init__(self, folder, split):
        self.folder, self.split = folder, split
        self.rows, self.file = 0, None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.file is not None:
            self.file.close()

    def write(self, row):
        import tensorflow as tf

        if self.rows % _ROWS == 0:
            self.__exit__()
            path = self.folder / f"{self.split}-{self.rows // _ROWS:05d}.tfrecord"
            self.file = tf.io.TFRecordWriter(str(path))
        features = tf.train.Features(feature={k: _feature(v) for k, v in row.items()})
        self.file.write(tf.train.Example(features=features).SerializeToString())
        self.rows += 1


def _feature(value):
    import tensorflow as tf

    values = value.reshape(-1).tolist()
    if np.issubdtype(value.dtype, np.integer):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
