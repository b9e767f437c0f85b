"""The expected rows are those of SeqIO's documentation of its feature converters."""

import types

import helpers_data
import numpy as np
import pytest

from keras_switch.data import DataConfig, batches

PAIRS = [
    {"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]},
    {"inputs": [8, 4, 9, 3, 1], "targets": [4, 1]},
]
PREFIX_MODEL = types.SimpleNamespace(
    architecture="decoder-only", prefix_lm=True, vocab_size=1000
)


@pytest.fixture
def pairs():
    with helpers_data.registered("pairs", PAIRS) as name:
        yield name


@pytest.fixture
def alone():
    examples = [{"targets": pair["targets"]} for pair in PAIRS]
    with helpers_data.registered("alone", examples) as name:
        yield name


def only_batch(task, lengths, model, **options):
    config = DataConfig(task, lengths, shuffle=False, num_epochs=1, **options)
    (batch,) = batches(config, model).as_numpy_iterator()
    return batch


def assert_triple(batch, inputs, targets, weights):
    assert set(batch[0]) == set(inputs)
    for name, expected in inputs.items():
        np.testing.assert_array_equal(batch[0][name], expected, err_msg=name)
        assert batch[0][name].dtype == np.int32, name
    np.testing.assert_array_equal(batch[1], targets)
    np.testing.assert_array_equal(batch[2], weights)
    assert batch[1].dtype == np.int32
    assert batch[2].dtype == np.float32


def test_packed_pairs_for_an_encoder_and_a_decoder(pairs):
    lengths = {"inputs": 10, "targets": 7}
    batch = only_batch(pairs, lengths, "encoder-decoder", batch_size=1)
    assert_triple(
        batch,
        {
            "encoder_token_ids": [[7, 8, 5, 1, 8, 4, 9, 3, 1, 0]],
            "encoder_padding_mask": [[1, 1, 1, 1, 2, 2, 2, 2, 2, 0]],
            "decoder_token_ids": [[0, 3, 9, 0, 4, 0, 0]],
            "decoder_padding_mask": [[1, 1, 1, 2, 2, 0, 0]],
        },
        targets=[[3, 9, 1, 4, 1, 0, 0]],
        weights=[[1, 1, 1, 1, 1, 0, 0]],
    )


def test_unpacked_pairs_have_masks_of_ones_and_zeros(pairs):
    lengths = {"inputs": 5, "targets": 4}
    batch = only_batch(pairs, lengths, "encoder-decoder", batch_size=2, pack=False)
    assert_triple(
        batch,
        {
            "encoder_token_ids": [[7, 8, 5, 1, 0], [8, 4, 9, 3, 1]],
            "encoder_padding_mask": [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
            "decoder_token_ids": [[0, 3, 9, 1], [0, 4, 1, 0]],
            "decoder_padding_mask": [[1, 1, 1, 0], [1, 1, 0, 0]],
        },
        targets=[[3, 9, 1, 0], [4, 1, 0, 0]],
        weights=[[1, 1, 1, 0], [1, 1, 0, 0]],
    )


def test_targets_alone_for_a_decoder(alone):
    lengths = {"inputs": 9, "targets": 6}  # that of the inputs has no meaning here
    batch = only_batch(alone, lengths, "decoder-only", batch_size=1)
    assert_triple(
        batch,
        {
            "token_ids": [[0, 3, 9, 0, 4, 0]],
            "padding_mask": [[1, 1, 1, 2, 2, 0]],
        },
        targets=[[3, 9, 1, 4, 1, 0]],
        weights=[[1, 1, 1, 1, 1, 0]],
    )


@pytest.mark.parametrize("model", ["decoder-only", PREFIX_MODEL])
def test_pairs_in_one_sequence_for_a_decoder(pairs, model):
    batch = only_batch(pairs, {"inputs": 7, "targets": 8}, model, batch_size=1)
    prefix = [[1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]]
    assert_triple(
        batch,
        {
            "token_ids": [[0, 7, 8, 5, 1, 3, 9, 0, 8, 4, 9, 3, 1, 4, 0]],
            "padding_mask": [[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0]],
            **({"prefix_mask": prefix} if model is PREFIX_MODEL else {}),
        },
        targets=[[7, 8, 5, 1, 3, 9, 1, 8, 4, 9, 3, 1, 4, 1, 0]],
        weights=[[0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0]],
    )


@pytest.mark.parametrize("model", ["encoder-decoder", PREFIX_MODEL])
def test_a_model_that_needs_inputs_refuses_targets_alone(alone, model):
    with pytest.raises(ValueError, match=r"'alone' has targets but no inputs.*needs"):
        batches(DataConfig(alone, {"targets": 6}), model)


def test_an_unknown_architecture_is_named_with_those_that_are_fed(pairs):
    with pytest.raises(ValueError, match=r"'encoder-only'.*'encoder-decoder' and"):
        batches(DataConfig(pairs), "encoder-only")
