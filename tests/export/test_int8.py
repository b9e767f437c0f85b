"""8-bit weights of exported models."""

import helpers_export as helpers
import numpy as np
import pytest
import tensorflow as tf

from keras_switch import export
from keras_switch.export.int8 import Packed
from keras_switch.models.decoding import dropless


@pytest.fixture
def model():
    return helpers.decoder(vocab_size=128)


def test_a_model_reads_what_the_integers_say_and_its_own_weights_afterwards(model):
    inputs = {
        "token_ids": np.random.default_rng(0).integers(3, 128, (3, 7), "int32"),
        "padding_mask": np.ones((3, 7), "int32"),
    }
    before = [w.numpy() for w in model.weights]
    with dropless(model.backbone):
        with Packed(model) as _:
            found = model(inputs).numpy()
        # By hand: round the weights themselves.
        for weight, values, scale in Packed(model).pairs.values():
            weight.assign(values.numpy() * scale.numpy())
        wanted = model(inputs).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    changed = [
        w.path
        for w, old in zip(model.weights, before, strict=True)
        if (w.numpy() != old).any()
    ]
    assert not [path for path in changed if "router" in path or "norm" in path]
    kernels = ("experts/wi", "experts/wo", "mixer/output", "token_embedding/embedding")
    for name in kernels:
        assert any(path.endswith(name) for path in changed)


def test_each_channel_has_a_scale_and_errs_by_half_a_step_at_most(model):
    shapes = {"experts/wi": (4, 1, 24), "mixer/query": (1, 4, 4)}
    shapes |= {"mixer/output": (1, 1, 16), "embedding": (128, 1)}
    for path, (weight, values, scale) in Packed(model).pairs.items():
        error = np.abs(values.numpy() * scale.numpy() - weight.numpy())
        assert (error <= 0.5001 * scale.numpy()).all()
        for name, shape in shapes.items():
            assert not path.endswith(name) or scale.shape == shape


def test_an_export_is_smaller_and_tells_what_that_costs(model, tmp_path):
    options = {"input_lengths": (8,), "max_new_tokens": 4, "warm_up": False}
    written = model.export(
        tmp_path / "lm" / "1", export.Serving(weights=export.Int8(), **options)
    )
    quality = written.quality
    assert quality.bytes_after < 0.45 * quality.bytes_before
    assert 0 < quality.logit_error < 0.1 and quality.same_choice > 0.9
    assert "of likeliest tokens stay" in str(quality)
    loaded = tf.saved_model.load(str(written.folder))
    size = sum(v.shape.num_elements() * v.dtype.size for v in loaded.weights)
    assert size < 1.01 * quality.bytes_after
    ids = tf.constant([[5, 6, 7]])
    answer = loaded.signatures["generate"](token_ids=ids)
    score = loaded.signatures["score"](
        token_ids=ids, target_token_ids=answer["output_ids"]
    )
    np.testing.assert_allclose(score["scores"], answer["scores"], atol=1e-4)
