import numpy as np

import keras_switch.tasks.pydocs as _  # noqa: F401  registers the tasks
from keras_switch.data import DataConfig, batches, embedded_vocabulary


def test_the_embedded_corpus_gives_full_rows_of_english():
    vocabulary = embedded_vocabulary()
    config = DataConfig("pydocs_span_corruption", batch_size=8)
    inputs, targets, weights = next(iter(batches(config, "encoder-decoder")))
    assert np.mean(inputs["encoder_padding_mask"].numpy() == 0) < 0.05
    assert targets.numpy().max() == vocabulary.vocab_size - 1  # <extra_id_0>
    np.testing.assert_array_equal(weights.numpy(), targets.numpy() != 0)
    words = vocabulary.decode(inputs["encoder_token_ids"].numpy().ravel().tolist())
    assert " the " in words
