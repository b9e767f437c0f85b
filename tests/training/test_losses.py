import keras
import numpy as np
import pytest
from keras import ops

from keras_switch.training.losses import (
    TokenCrossEntropy,
    cross_entropy,
    token_losses,
)


@pytest.fixture
def batch(rng):
    logits = rng.normal(size=(2, 3, 7)).astype("float32") * 3
    weights = np.array([[1, 1, 0], [1, 0, 0]], "float32")
    return logits, rng.integers(0, 7, (2, 3)), weights


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parity
@pytest.mark.parametrize("label_smoothing", ["0.0", "0.1"])
@pytest.mark.parametrize("z_loss", ["0.0", "0.0001", "0.05"])
def test_each_token_has_mesh_tensorflows_loss(goldens, label_smoothing, z_loss):
    units = np.load(goldens / "mtf" / "misc_units.npz")
    loss, z = token_losses(
        units["softmax_ce|logits"],
        units["softmax_ce|targets"],
        float(z_loss),
        float(label_smoothing),
        "mesh_tensorflow",
    )
    expected = units[f"softmax_ce|ls{label_smoothing}|z{z_loss}"]
    np.testing.assert_allclose(loss + z, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("label_smoothing", ["0.0", "0.1"])
@pytest.mark.parametrize("z_loss", ["0.0", "0.0001", "0.05"])
@pytest.mark.parametrize("denominator", [None, 7.0])
def test_the_sum_is_t5xs(goldens, label_smoothing, z_loss, denominator):
    units = np.load(goldens / "flaxformer" / "misc.npz")
    key = f"ce|ls{label_smoothing}|z{z_loss}|norm{denominator}"
    weights = units["ce|weights"]
    got = cross_entropy(
        units["ce|logits"],
        units["ce|targets"],
        weights,
        z_loss=float(z_loss),
        label_smoothing=float(label_smoothing),
        denominator=denominator or 1.0,  # T5X: no normaliser, no division
    )
    np.testing.assert_allclose(got, units[f"{key}|total_loss"], rtol=2e-6)
    z = token_losses(units["ce|logits"], units["ce|targets"], float(z_loss))[1]
    z = np.sum(np.asarray(z) * weights) / (denominator or 1.0)
    np.testing.assert_allclose(z, units[f"{key}|total_z_loss"], rtol=2e-6)


def test_the_mean_is_over_real_tokens_unless_another_denominator_is_given(batch):
    logits, targets, weights = batch
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(
        cross_entropy(logits, targets, weights), (nll * weights).sum() / 3, rtol=1e-6
    )
    np.testing.assert_allclose(
        cross_entropy(logits, targets, weights, denominator=6),
        (nll * weights).sum() / 6,
        rtol=1e-6,
    )
    np.testing.assert_allclose(cross_entropy(logits, targets), nll.mean(), rtol=1e-6)


def test_a_batch_of_padding_alone_has_loss_zero_not_nan(batch):
    logits, targets, weights = batch
    assert float(cross_entropy(logits, targets, weights * 0)) == 0
    assert float(TokenCrossEntropy()(targets, logits, weights * 0)) == 0


def test_bfloat16_logits_are_summed_in_float32():
    logits = ops.cast(np.zeros((1, 1, 4096)), "bfloat16")
    loss = cross_entropy(logits, np.zeros((1, 1), int))
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    np.testing.assert_allclose(loss, np.log(4096), rtol=1e-6)


def test_the_loss_object_divides_as_its_reduction_says(batch):
    logits, targets, weights = batch
    options = {"z_loss": 1e-2, "label_smoothing": 0.1}
    by_tokens = TokenCrossEntropy(**options)(targets, logits, weights)
    expected = cross_entropy(logits, targets, weights, **options)
    np.testing.assert_allclose(by_tokens, expected, rtol=1e-6)
    by_positions = TokenCrossEntropy(**options, reduction="sum_over_batch_size")
    np.testing.assert_allclose(
        by_positions(targets, logits, weights), expected * 3 / 6, rtol=1e-6
    )


def test_the_loss_object_survives_its_config():
    loss = TokenCrossEntropy(1e-4, 0.1, "mesh_tensorflow", "sum_over_batch_size")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert again.smoothing == "mesh_tensorflow"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"z_loss": -1.0}, "negative"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"smoothing": "t5"}, "unknown: use one of"),
    ],
)
def test_says_which_option_cannot_be_meant(option, message):
    with pytest.raises(ValueError, match=message):
        TokenCrossEntropy(**option)
