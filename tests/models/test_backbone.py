import dataclasses

import helpers_models as helpers
import keras
import numpy as np
import pytest
from keras import ops

from keras_switch import models
from keras_switch.dispatch import FixedGroups
from keras_switch.routing import Argmax, CapacityFactor, Hash, Switch

DECODER = {"architecture": "decoder-only"}
# Room for every token: what is dropped depends on who shares a group.
ROOMY = models.Sparse(4, routing=Switch(capacity=CapacityFactor(4.0, 4.0)))


def outputs(model, batch):
    found = model(batch)
    if isinstance(found, dict):
        found = found["decoder_sequence_output"]
    return np.asarray(found)


def packed(config):
    """Returns examples one by one, and the same packed into one row."""
    rng = np.random.default_rng(0)
    lengths = {"encoder_": (5, 4), "decoder_": (3, 4), "": (4, 5)}
    names = ("encoder_", "decoder_") if len(config.stacks) == 2 else ("",)
    singles, row = ({}, {}), {}
    for name in names:
        parts = [rng.integers(3, config.vocab_size, n) for n in lengths[name]]
        for single, part in zip(singles, parts, strict=True):
            single[f"{name}token_ids"] = part[None].astype("int32")
            single[f"{name}padding_mask"] = np.ones_like(part[None], "int32")
        segments = [np.full(len(part), n + 1) for n, part in enumerate(parts)]
        ids, segments = np.concatenate(parts), np.concatenate(segments)
        row[f"{name}token_ids"] = np.pad(ids, (0, 2))[None].astype("int32")
        row[f"{name}padding_mask"] = np.pad(segments, (0, 2))[None].astype("int32")
    return singles, row


@pytest.mark.parametrize(
    "architecture",
    [
        "encoder-decoder",
        pytest.param("decoder-only", marks=pytest.mark.parity),
        "encoder-only",
    ],
)
def test_a_packed_batch_is_the_examples_run_one_by_one(architecture):
    config = helpers.tiny(sparse=ROOMY, architecture=architecture)
    model = models.SwitchBackbone(config)
    helpers.scatter(model)
    singles, row = packed(config)
    together = outputs(model, row)[0]
    apart = np.concatenate([outputs(model, single)[0] for single in singles])
    np.testing.assert_allclose(together[: len(apart)], apart, atol=2e-5)


def test_padding_moves_no_output_of_a_real_token():
    config = helpers.tiny(sparse=ROOMY)
    model = models.SwitchBackbone(config)
    helpers.scatter(model)
    batch = helpers.inputs(config)
    longer = {name: np.pad(value, ((0, 0), (0, 5))) for name, value in batch.items()}
    longer = {n: v + (v == 0) * 7 if "ids" in n else v for n, v in longer.items()}
    np.testing.assert_allclose(
        outputs(model, longer)[:, :8], outputs(model, batch), atol=2e-5
    )


def test_a_prefix_is_seen_in_both_directions_and_the_rest_is_causal():
    config = helpers.tiny(prefix_lm=True, **DECODER)
    model = models.SwitchBackbone(config)
    helpers.scatter(model)
    batch = helpers.inputs(config, batch=1, length=6)
    batch["prefix_mask"] = np.array([[1, 1, 1, 0, 0, 0]], "int32")
    before = outputs(model, batch)[0]

    def moved(position):
        ids = batch["token_ids"].copy()
        ids[0, position] = 3 + (ids[0, position] - 2) % 40
        change = np.abs(outputs(model, {**batch, "token_ids": ids})[0] - before)
        return list(np.max(change, axis=-1) > 1e-6)

    assert moved(2) == [True] * 6
    assert moved(4) == [False] * 4 + [True] * 2


PARTS = {
    "fourier": {"mixer": models.Fourier(), "architecture": "encoder-only"},
    "parallel": {"block": models.Parallel(), "num_kv_heads": 1, **DECODER},
    "rotary": {"position": models.RotaryPosition(), "mlp": models.GatedMlp("silu")},
    "hash": {"position": None, "sparse": models.Sparse(2, routing=Hash())},
    "extra mlp": {"sparse": models.Sparse(2, extra_mlp=models.PlainMlp())},
    "groups": {"sparse": models.Sparse(2, groups=FixedGroups(16), d_ff=8)},
}


@pytest.mark.parametrize("name", PARTS)
def test_every_weight_of_every_part_reaches_the_output(name):
    config = helpers.tiny(**PARTS[name])
    model = models.SwitchBackbone(config)
    helpers.scatter(model)
    batch = helpers.inputs(config, batch=4)

    def loss():
        found = model(batch)
        found = found["decoder_sequence_output"] if isinstance(found, dict) else found
        return ops.sum(ops.sin(found))

    value, gradients = helpers.gradients(model, loss)
    assert np.isfinite(value)
    for path, gradient in gradients.items():
        assert np.abs(gradient).max() > 1e-6, path
        assert "experts" not in path or np.abs(gradient).max((1, 2)).min() > 0, path


def test_remat_changes_neither_output_nor_gradients():
    config = helpers.tiny(sparse=models.Sparse(4, routing=Switch(exploration=Argmax())))
    plain = models.SwitchBackbone(config)
    helpers.scatter(plain)
    again = models.SwitchBackbone(dataclasses.replace(config, remat=True))
    again.set_weights(plain.get_weights())
    batch = helpers.inputs(config)
    found = []
    for model in (plain, again):

        def loss(model=model):
            decoded = model(batch, training=True)["decoder_sequence_output"]
            return ops.sum(ops.sin(decoded))

        found.append(helpers.gradients(model, loss))
    (value, grads), (value_again, grads_again) = found
    np.testing.assert_allclose(value, value_again, rtol=1e-6)
    for path, gradient in grads.items():
        other, atol = grads_again[path], 1e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=atol, err_msg=path)
    assert any(np.abs(g).max() > 0 for p, g in grads.items() if "router" in p)


def test_auxiliary_losses_of_all_sparse_layers_arrive_in_training_only():
    routing = Switch(balance_loss_weight=1.0)
    for share, expected in ((models.LayerSum(), 1.0), (models.LayerMean(), 0.5)):
        sparse = models.Sparse(4, routing=routing, layer_losses=share)
        model = models.SwitchBackbone(helpers.tiny(sparse=sparse))
        for layer in models.sparse_layers(model):
            layer.router.kernel.assign(ops.zeros_like(layer.router.kernel))
        batch = helpers.inputs(model.config)
        model(batch)
        assert not model.losses
        model(batch, training=True)
        # Logits that tie give even probabilities: each layer's loss is its weight.
        np.testing.assert_allclose([float(x) for x in model.losses], [expected] * 2)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16", "mixed_float16"])
def test_routers_and_norms_stay_float32_under_every_policy(dtype):
    config = helpers.tiny()
    model = models.SwitchBackbone(config, dtype=dtype)
    with models.recorded_assignments(model) as routes:
        found = model(helpers.inputs(config))
    hidden = found["decoder_sequence_output"].dtype
    assert keras.backend.standardize_dtype(hidden) == dtype.removeprefix("mixed_")
    for layer in models.sparse_layers(model):
        assert layer.router.kernel.dtype == "float32"
        logits = routes[layer.name].logits
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_a_backbone_survives_its_config():
    config = helpers.tiny(mlp=models.GatedMlp(), remat=True)
    model = models.SwitchBackbone(config, dtype="mixed_bfloat16", name="mine")
    again = models.SwitchBackbone.from_config(model.get_config())
    assert again.config == config
    assert again.name == "mine"
    assert again.dtype_policy.name == "mixed_bfloat16"


def test_it_asks_for_a_config():
    with pytest.raises(ValueError, match=r"config='switch_tiny'.*from_preset"):
        models.SwitchBackbone("switch_tiny")
