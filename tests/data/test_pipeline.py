import dataclasses
import itertools
import subprocess
import sys
import types

import helpers_data
import numpy as np
import pytest
import tensorflow as tf

from keras_switch import models
from keras_switch.data import DataConfig, batches, padding_share

ARCHITECTURE = "encoder-decoder"
LENGTHS = {"inputs": 6, "targets": 6}
TARGETS = 4  # of a batch as a flat list: the inputs, sorted by name, come before


@pytest.fixture
def task():
    with helpers_data.registered("counted", helpers_data.counted(23)) as name:
        yield name


def read(config, count=None, **shards):
    """Returns batches as flat lists of arrays."""
    dataset = batches(config, ARCHITECTURE, **shards).as_numpy_iterator()
    return [tf.nest.flatten(batch) for batch in itertools.islice(dataset, count)]


def assert_equal(some, others):
    assert len(some) == len(others)
    for batch, other in zip(some, others, strict=True):
        for x, y in zip(batch, other, strict=True):
            np.testing.assert_array_equal(x, y)


def differ(some, others):
    pairs = zip(some, others, strict=True)
    return any(not np.array_equal(x[TARGETS], y[TARGETS]) for x, y in pairs)


def examples_of(dataset):
    """Yields `(encoder ids, target ids)` of every example in packed batches."""
    for inputs, targets, weights in dataset.as_numpy_iterator():
        for row in range(len(targets)):
            encoder = inputs["encoder_padding_mask"][row]
            decoder = inputs["decoder_padding_mask"][row]
            np.testing.assert_array_equal(weights[row], decoder > 0)
            for segment in range(1, max(encoder.max(), decoder.max()) + 1):
                yield (
                    inputs["encoder_token_ids"][row][encoder == segment].tolist(),
                    targets[row][decoder == segment].tolist(),
                )


def test_packing_keeps_every_example_whole_and_apart(task):
    config = DataConfig(task, LENGTHS, 4, shuffle=False, num_epochs=1)
    dataset = batches(config, ARCHITECTURE)
    expected = [(e["inputs"], e["targets"]) for e in helpers_data.counted(23)]
    assert list(examples_of(dataset)) == expected
    assert max(int(x[0]["encoder_padding_mask"].numpy().max()) for x in dataset) > 1


def test_the_last_batch_is_filled_up_with_rows_of_no_weight(task):
    config = DataConfig(task, LENGTHS, 5, pack=False, shuffle=False, num_epochs=1)
    *_, (inputs, targets, weights) = batches(config, ARCHITECTURE).as_numpy_iterator()
    np.testing.assert_array_equal(targets[:, 0], [21, 22, 23, 0, 0])
    np.testing.assert_array_equal(weights.sum(-1), [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(inputs["encoder_padding_mask"][3:], 0)


def test_every_batch_has_one_known_shape(task):
    for config in (
        DataConfig(task, LENGTHS, 4),
        DataConfig(task, LENGTHS, 4, pack=False, num_epochs=1),
    ):
        spec = batches(config, ARCHITECTURE).element_spec
        assert {tuple(x.shape) for x in tf.nest.flatten(spec)} == {(4, 6)}


def test_equal_configs_give_equal_batches_and_another_seed_others(task):
    config = DataConfig(task, LENGTHS, 4, seed=3)
    first = read(config, 8)
    assert_equal(first, read(config, 8))
    assert differ(first, read(dataclasses.replace(config, seed=4), 8))


def test_training_goes_on_for_ever_in_new_orders(task):
    config = DataConfig(task, LENGTHS, 23, pack=False)
    first, *others = read(config, 10)
    assert all(differ([first], [other]) for other in others)
    seen = np.concatenate([batch[TARGETS][:, 0] for batch in (first, *others)])
    assert set(seen.tolist()) == set(range(1, 24))


def test_an_iterator_restored_from_a_checkpoint_goes_on_exactly(task, tmp_path):
    config = DataConfig(task, LENGTHS, 4)
    iterator = iter(batches(config, ARCHITECTURE))
    for _ in range(3):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "position"))
    expected = [tf.nest.flatten(next(iterator)) for _ in range(9)]

    restored = iter(batches(config, ARCHITECTURE))
    tf.train.Checkpoint(iterator=restored).read(path).assert_consumed()
    assert_equal(expected, [tf.nest.flatten(next(restored)) for _ in range(9)])


@pytest.mark.slow
def test_a_fresh_process_goes_on_with_the_embedded_corpus_exactly(tmp_path):
    script = """
import sys, zlib
import tensorflow as tf
import keras_switch.tasks.pydocs
from keras_switch.data import DataConfig, batches
config = DataConfig("pydocs_span_corruption", batch_size=16)
iterator = iter(batches(config, "encoder-decoder"))
checkpoint = tf.train.Checkpoint(iterator=iterator)
if sys.argv[1] == "restore":
    checkpoint.read(sys.argv[2]).assert_consumed()
else:
    for _ in range(5):
        next(iterator)
    checkpoint.write(sys.argv[2])
print([zlib.crc32(next(iterator)[1].numpy().tobytes()) for _ in range(4)])
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script, mode, str(tmp_path / "position")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for mode in ("write", "restore")
    ]
    assert outputs[0] == outputs[1] != ""


def joined(config, clients, count=None):
    """Returns the batches that clients make together."""
    parts = [
        read(config, count, num_shards=clients, shard=shard) for shard in range(clients)
    ]
    return [
        [np.concatenate(rows) for rows in zip(*batch, strict=True)]
        for batch in zip(*parts, strict=True)
    ]


def test_readers_read_disjoint_parts_that_make_up_the_whole(task):
    config = DataConfig(task, LENGTHS, 4, pack=False, readers=2)
    rows = np.stack([batch[TARGETS][:, 0] for batch in read(config, 60)])
    some, others = (set(rows[:, part].flat) for part in (slice(0, 2), slice(2, 4)))
    assert not some & others
    assert some | others == set(range(1, 24))


@pytest.mark.parametrize(
    ("readers", "clients"), [(1, 2), (1, 4), (2, 2), (4, 2), (2, 4)]
)
def test_clients_train_on_the_batches_of_one(task, readers, clients):
    config = DataConfig(task, LENGTHS, 4, readers=readers)
    assert_equal(joined(config, clients, 5), read(config, 5))


def test_clients_evaluate_slices_of_the_same_batches(task):
    config = DataConfig(task, LENGTHS, 4, num_epochs=1, shuffle=False)
    assert_equal(joined(config, 2), read(config))


def test_share_of_padding_is_counted_by_hand():
    examples = [{"inputs": [1, 2, 3], "targets": [4]}]
    with helpers_data.registered("one", examples) as task:
        config = DataConfig(task, {"inputs": 4, "targets": 4}, 2, num_epochs=1)
        shares = padding_share(batches(config, ARCHITECTURE), 1)
    assert shares == {
        "encoder_padding_mask": 5 / 8,  # one of two rows is empty
        "decoder_padding_mask": 7 / 8,
    }


def test_a_split_without_examples_is_told_before_any_step(task):
    with pytest.raises(ValueError, match=r"'validation' of task 'counted' gives no ex"):
        batches(DataConfig(task, LENGTHS, split="validation"), ARCHITECTURE)


def test_preprocessors_that_drop_everything_are_told_before_any_step():
    examples = helpers_data.counted(3)
    drop = [lambda dataset: dataset.filter(lambda x: False)]
    with (
        helpers_data.registered("dropped", examples, drop) as task,
        pytest.raises(ValueError, match="a preprocessor drops everything"),
    ):
        batches(DataConfig(task, LENGTHS), ARCHITECTURE)


@pytest.mark.parametrize(
    ("change", "shards", "message"),
    [
        ({"split": "trian"}, {}, r"no split 'trian'. Its splits are 'train', 'valid"),
        ({"lengths": {"inputs": 6}}, {}, r"none for \['targets'\].*'targets': 128"),
        ({"batch_size": 6}, {"num_shards": 4}, r"6 rows .* 4 clients.*multiple of 4"),
        ({"readers": 4}, {"num_shards": 3}, r"4 readers .* 3 clients.*to 1, or to a"),
        ({}, {"num_shards": 2, "shard": 2}, r"no shard 2 of 2: count from 0 to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(task, change, shards, message):
    config = dataclasses.replace(DataConfig(task, LENGTHS, 4), **change)
    with pytest.raises(ValueError, match=message):
        batches(config, ARCHITECTURE, **shards)


def test_a_fourier_mixer_is_refused_packed_rows_and_takes_others(task):
    model = models.ModelConfig(vocab_size=1024, mixer=models.Fourier())
    config = DataConfig(task, LENGTHS, 4)
    with pytest.raises(ValueError, match=r"'counted' packs.*Fourier\(\).*pack=False"):
        batches(config, model)
    batches(dataclasses.replace(config, pack=False), model)
    batches(config, dataclasses.replace(model, mixer=models.SelfAttention()))


def test_a_model_too_small_for_the_vocabulary_is_refused_with_the_cure(task):
    model = types.SimpleNamespace(
        architecture="encoder-decoder", prefix_lm=False, vocab_size=896
    )
    with pytest.raises(ValueError, match=r"vocab_size=896.*has 1000 ids.*to 1024 or"):
        batches(DataConfig(task, LENGTHS), model)
