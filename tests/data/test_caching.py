"""A cached task gives the examples of a live one, in its order, and goes on exactly."""

import json
import pathlib

import numpy as np
import pytest
import seqio
import tensorflow as tf

from keras_switch.data import (
    DataConfig,
    Equal,
    FileTask,
    TaskMixture,
    TextFileTask,
    batches,
    caching,
)
from keras_switch.data.registry import find

BYTES = seqio.ByteVocabulary(extra_ids=100)
LENGTHS = {"inputs": 24, "targets": 14}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cached")


@pytest.fixture(scope="module")
def pairs(folder):
    rows = "".join(f"number {i}\tanswer {i}\n" for i in range(70))
    (folder / "a.tsv").write_text("inputs\ttargets\n" + rows)
    spec = FileTask({"train": str(folder / "a.tsv")}, name="cached_pairs")
    caching.write(find(spec, BYTES), str(folder / "c"), num_shards=3)
    return spec


@pytest.fixture(scope="module")
def texts(folder):
    rows = "".join(f"{i} and more than that, much more\n" for i in range(40))
    (folder / "a.txt").write_text(rows)
    spec = TextFileTask({"train": str(folder / "a.txt")}, name="cached_texts")
    caching.write(find(spec, BYTES), str(folder / "c"), num_shards=16)
    return spec


def config(spec, **changes):
    return DataConfig(
        **{"task": spec, "lengths": LENGTHS, "batch_size": 4, "vocabulary": BYTES}
        | changes
    )


def rows(config, count=None, **shards):
    found = []
    dataset = batches(config, "encoder-decoder", **shards)
    for inputs, targets, _ in dataset.take(count or 10**6).as_numpy_iterator():
        found.append(np.concatenate([inputs["encoder_token_ids"], targets], -1))
    return np.concatenate(found)


@pytest.mark.parametrize("kind", ["pairs", "texts"])
def test_a_cached_task_gives_the_examples_of_the_live_one_in_its_order(
    kind, folder, request
):
    spec = request.getfixturevalue(kind)
    live = config(spec, pack=False).for_evaluation("train")
    cached = config(spec, pack=False, cache=str(folder / "c")).for_evaluation("train")
    assert np.array_equal(rows(live), rows(cached))


def test_a_cached_task_goes_on_exactly_where_it_was(pairs, folder, tmp_path):
    cached = config(pairs, cache=str(folder / "c"), seed=3)
    whole = rows(cached, 30)
    iterator = iter(batches(cached, "encoder-decoder"))
    for _ in range(20):
        next(iterator)
    path = tf.train.Checkpoint(it=iterator).write(str(tmp_path / "position"))
    again = iter(batches(cached, "encoder-decoder"))
    tf.train.Checkpoint(it=again).read(path).assert_consumed()
    for i in range(20, 30):
        inputs, targets, _ = next(again)
        row = np.concatenate([inputs["encoder_token_ids"], targets], -1)
        assert np.array_equal(row, whole[4 * i : 4 * i + 4])


def test_clients_share_the_batches_of_a_cached_mixture(pairs, folder):
    spec = TaskMixture([pairs], Equal())
    whole = config(spec, cache=str(folder / "c"), readers=2, seed=1)
    parts = [rows(whole, 5, num_shards=2, shard=i) for i in (0, 1)]
    together = rows(whole, 5).reshape(5, 2, 2, -1)
    assert np.array_equal(together[:, 0], parts[0].reshape(5, 2, -1))
    assert np.array_equal(together[:, 1], parts[1].reshape(5, 2, -1))


def test_the_statistics_are_seqios(pairs, folder):
    place = folder / "c" / "cached_pairs"
    stats = json.loads((place / "stats.train.json").read_text())
    assert stats["examples"] == 70
    assert stats["targets_max_tokens"] == len("answer 69")
    assert stats["targets_tokens"] == 10 * len("answer 9") + 60 * len("answer 69")


def test_what_is_written_is_not_written_again(pairs, folder):
    file = next((folder / "c" / "cached_pairs").glob("train.tfrecord*"))
    before = file.stat().st_mtime_ns
    counts = caching.write(find(pairs, BYTES), str(folder / "c"))
    assert counts == {"cached_pairs": {"train": 70}}
    assert file.stat().st_mtime_ns == before


def test_a_cache_that_is_not_there_is_told_with_the_command(pairs, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"(?s)'cached_pairs'.*keras-switch cache"
    ):
        rows(config(pairs, cache=str(tmp_path)), 1)


def test_a_cache_of_another_vocabulary_is_refused(pairs, folder):
    other = seqio.ByteVocabulary(extra_ids=200)
    with pytest.raises(ValueError, match="with another vocabulary"):
        rows(config(pairs, cache=str(folder / "c"), vocabulary=other), 1)


def test_an_empty_split_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.tsv").write_text("inputs\ttargets\n")
    spec = FileTask({"train": str(tmp_path / "a.tsv")}, name="nothing")
    with pytest.raises(ValueError, match="is empty"):
        caching.write(find(spec, BYTES), str(tmp_path / "c"))
    assert not [p for p in pathlib.Path(tmp_path / "c").rglob("*") if p.is_file()]


def test_seqios_own_program_writes_what_we_read(pairs, tmp_path, folder):
    """Apache Beam on the local runner, as `seqio_cache_tasks` runs it."""
    beam = pytest.importorskip(
        "apache_beam", reason="needs pip install seqio[cache-tasks]"
    )
    from absl import flags
    from seqio.scripts import cache_tasks_main

    task = find(pairs, BYTES)
    seqio.TaskRegistry.add_provider(task.name, task)
    try:
        flags.FLAGS(["test"])
        flags.FLAGS.min_shards = 2
        with beam.Pipeline() as pipeline:
            cache_tasks_main.run_pipeline(pipeline, [task.name], str(tmp_path))
    finally:
        seqio.TaskRegistry.remove(task.name)
    live = config(pairs, pack=False).for_evaluation("train")
    cached = config(pairs, pack=False, cache=str(tmp_path)).for_evaluation("train")
    assert sorted(rows(live).tolist()) == sorted(rows(cached).tolist())
