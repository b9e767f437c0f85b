"""Examples of a task prepared once and read many times, in SeqIO's own format.

`write` needs no Apache Beam and no more memory than one example; `seqio_cache_tasks` is
SeqIO's program for large tasks, on Beam. What either writes, both read.

Examples go to the files in blocks of sixteen, turn by turn, as SeqIO reads them: read
unshuffled, they come in the order in which they were written.
"""

import contextlib
import json
import pathlib
import shutil
import uuid

from keras_switch.data import environment, registry

BLOCK = 16  # examples, of SeqIO's interleaving
MOST_SHARDS = 16  # files that it reads in turn
VOCABULARY = "vocabulary.json"


def write(task, folder: str, splits=(), num_shards: int = MOST_SHARDS, seed: int = 0):
    """Writes the examples of a task, as they are before any cutting or masking.

    A split that stands there is not written again; nothing is read from a cache that
    was not finished.

    Args:
        task: `seqio.Task` or `seqio.Mixture`, whose tasks are written one by one.
        folder: of caches; each task has a folder of its own there.
        splits: names; empty for all.
        num_shards: files of a split, at most 16; as many clients can share it.
        seed: of whatever the task draws before the place of its cache.

    Returns:
        Examples by task and split.

    Raises:
        ValueError: if a task has no place for a cache, or no example.
    """
    if not 1 <= num_shards <= MOST_SHARDS:
        raise ValueError(f"num_shards is {num_shards}, give 1 to {MOST_SHARDS}.")
    return {
        part.name: _write_task(part, pathlib.Path(folder), splits, num_shards, seed)
        for part in registry.subtasks(task)
    }


def use_cache(task, folder: str, split: str):
    """Makes a task read its examples from `folder`.

    Raises:
        FileNotFoundError: if they are not there; says the command that writes them.
        ValueError: if they were written with another vocabulary.
    """
    seqio = environment.load("seqio")
    seqio.add_global_cache_dirs([str(folder)])
    for part in registry.subtasks(task):
        if split not in part.splits:
            continue
        place = _place(part, folder)
        if not (place / "COMPLETED").exists() or not _info(place, split).exists():
            raise FileNotFoundError(
                f"Split {split!r} of task {part.name!r} is not in the cache {folder}. "
                f"Write it with\n    keras-switch cache --gin.TASK={task.name} "
                f"--gin.CACHE={folder}\n(and the gin files or --gin.MODULES that name "
                "the task), or leave DataConfig.cache out."
            )
        _check_vocabulary(part, place)
        part._cache_dir = str(place)


def _write_task(task, folder, splits, num_shards, seed):
    if not task.supports_caching:
        raise ValueError(
            f"Task {task.name!r} has no place for a cache: put "
            "seqio.CacheDatasetPlaceholder() among its preprocessors, before the first "
            "that needs lengths."
        )
    place, counts = _place(task, folder), {}
    place.mkdir(parents=True, exist_ok=True)
    for split in splits or task.splits:
        if not _info(place, split).exists():
            _write_split(task, split, place, num_shards, seed)
        counts[split] = json.loads(_stats(place, split).read_text())["examples"]
    (place / VOCABULARY).write_text(json.dumps(_vocabularies(task)))
    (place / "COMPLETED").touch()
    return counts


def _write_split(task, split, place, num_shards, seed):
    """Writes the files of a split; the table of contents last."""
    seqio = environment.load("seqio")
    import tensorflow as tf

    examples = task.source.get_dataset(split=split, shuffle=False)
    examples = task.preprocess_precache(examples, seed=seed)
    draft = place / f".{split}-{uuid.uuid4().hex}"
    draft.mkdir()
    prefix = pathlib.Path(seqio.get_cached_tfrecord_prefix(str(draft), split)).name
    names = [f"{prefix}-{i:05d}-of-{num_shards:05d}" for i in range(num_shards)]
    stats = {"examples": 0}
    try:
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(tf.io.TFRecordWriter(str(draft / name)))
                for name in names
            ]
            for example in examples.as_numpy_iterator():
                file = files[stats["examples"] // BLOCK % num_shards]
                file.write(seqio.dict_to_tfexample(example).SerializeToString())
                _count(stats, example, task)
        if not stats["examples"]:
            raise ValueError(f"Split {split!r} of task {task.name!r} gives no example.")
        for name in names:
            (draft / name).replace(place / name)
    finally:
        shutil.rmtree(draft)
    contents = {
        "num_shards": num_shards,
        "features": {
            key: {"shape": spec.shape.as_list(), "dtype": spec.dtype.name}
            for key, spec in examples.element_spec.items()
        },
        "seqio_version": environment.load("seqio").__version__,
    }
    _stats(place, split).write_text(json.dumps(stats))
    _info(place, split).write_text(json.dumps(contents))


def _count(stats, example, task):
    """Adds an example to the statistics that SeqIO keeps."""
    stats["examples"] += 1
    for name in task.output_features:
        if name in example:
            tokens = int((example[name] != 0).sum())
            most = f"{name}_max_tokens"
            stats[f"{name}_tokens"] = stats.get(f"{name}_tokens", 0) + tokens
            stats[most] = max(stats.get(most, 0), tokens)


def _place(task, folder):
    name = environment.load("seqio").get_task_dir_from_name(task.name)
    return pathlib.Path(folder).expanduser() / name


def _info(place, split):
    return pathlib.Path(
        environment.load("seqio").get_cached_info_path(str(place), split)
    )


def _stats(place, split):
    return pathlib.Path(
        environment.load("seqio").get_cached_stats_path(str(place), split)
    )


def _vocabularies(task):
    """Returns what tells whether token ids mean the same: probes and sizes."""
    features = task.output_features.items()
    return {
        name: [
            feature.vocabulary.vocab_size,
            feature.vocabulary.encode("a cached text"),
        ]
        for name, feature in features
    }


def _check_vocabulary(task, place):
    file = place / VOCABULARY  # which SeqIO's own program does not write
    if file.exists() and json.loads(file.read_text()) != _vocabularies(task):
        raise ValueError(
            f"The examples of task {task.name!r} in {place} were written with another "
            "vocabulary: write them again, into another folder."
        )
