"""Exports of models that were something else before: with LoRA, bfloat16, on a mesh."""

import helpers_export as helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers_partitioning import on_devices

from keras_switch import export, models
from keras_switch.partitioning import Mesh

IDS = np.array([[7, 8, 9], [5, 0, 0]], "int32")
OPTIONS = export.Serving(input_lengths=(4,), max_new_tokens=3, warm_up=False)


def continued(model):
    """Returns what a decoder writes behind each row of IDS, and its scores."""
    ids = np.pad(IDS, ((0, 0), (1, OPTIONS.max_new_tokens)))
    known = np.arange(ids.shape[1]) <= np.count_nonzero(IDS, -1, keepdims=True)
    found, scores = model.generate(
        {"token_ids": ids, "padding_mask": known.astype("int32")},
        stop_token_ids=OPTIONS.stop_token_ids,
        strip_prompt=True,
        sampler="greedy",
        max_new_tokens=OPTIONS.max_new_tokens,
        return_scores=True,
    )
    return found["token_ids"][:, : OPTIONS.max_new_tokens], scores


def exported(model, folder):
    return tf.saved_model.load(str(model.export(folder, OPTIONS).folder))


def with_lora():
    """Returns a model with LoRA merged, and what it wrote before."""
    lora = models.Lora(rank=2, targets=("query", "experts"))
    model = helpers.decoder(lora=lora)
    before = continued(model)
    model.backbone.merge_lora()
    return model, before


def in_bfloat16():
    model = helpers.decoder("bfloat16")
    return model, continued(model)


@pytest.mark.parametrize(
    ("made", "dtypes"),
    [(with_lora, {"float32"}), (in_bfloat16, {"bfloat16", "float32"})],
)
def test_an_export_answers_as_the_model_did(made, dtypes, tmp_path):
    model, (ids, scores) = made()
    loaded = exported(model, tmp_path / "lm" / "1")
    assert {v.dtype.name for v in loaded.weights} == dtypes
    assert not [v.name for v in loaded.weights if "lora" in v.name]
    found = loaded.signatures["generate"](token_ids=tf.constant(IDS))
    np.testing.assert_array_equal(found["output_ids"], ids)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)
    encoded = loaded.signatures["encode"](token_ids=tf.constant(IDS))["encodings"]
    assert found["scores"].dtype == encoded.dtype == tf.float32
    # Routers are never in less than float32.
    routers = [v for v in model.weights if "router" in v.path]
    assert routers and {v.dtype for v in routers} == {"float32"}


@pytest.mark.slow
def test_an_export_from_a_mesh_is_that_of_one_device(tmp_path):
    check_mesh(folder=str(tmp_path))


@on_devices
def check_mesh(folder):
    with Mesh("data:2,model:2", "batch:data,experts:data,d_ff:model,vocab:model"):
        spread = helpers.decoder()
        spread.compile(keras.optimizers.SGD(0.1))
    real = np.ones((4, 6), "int32")
    inputs = {"token_ids": 5 * real, "padding_mask": real}
    before = spread.get_weights()
    spread.train_on_batch(inputs, 6 * real, real.astype("float32"))
    alone = helpers.decoder()
    alone.set_weights(spread.get_weights())
    assert any((a != b).any() for a, b in zip(before, alone.get_weights(), strict=True))
    ours, others = (
        exported(model, f"{folder}/{name}/1").signatures
        for model, name in ((spread, "spread"), (alone, "alone"))
    )
    ids = tf.constant(IDS)
    asked = {"generate": {}, "score": {"target_token_ids": ids}, "encode": {}}
    for name, more in asked.items():
        found, wanted = (one[name](token_ids=ids, **more) for one in (ours, others))
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value)
