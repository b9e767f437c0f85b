import helpers_training as h
import keras
import numpy as np
import pytest

from keras_switch.training.evaluate import EvalStep, evaluate
from keras_switch.training.losses import TokenCrossEntropy


def numpy_means(model, batches):
    """Returns loss and accuracy per token, batch by batch, in float64."""
    losses, right, tokens = 0.0, 0.0, 0.0
    for inputs, targets, weights in batches:
        logits = np.asarray(model(inputs)).astype("float64")
        targets, weights = np.asarray(targets), np.asarray(weights)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nll = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
        losses += (nll * weights).sum()
        right += ((logits.argmax(-1) == targets) * weights).sum()
        tokens += weights.sum()
    return losses / tokens, right / tokens, tokens


def test_every_token_counts_once_also_across_uneven_batches():
    model = h.dense_model()
    batches = [h.batch(4), h.batch(2, seed=1)]
    loss, accuracy, tokens = numpy_means(model, batches)
    got = evaluate(model, batches)
    expected = {
        "loss": loss,
        "perplexity": np.exp(loss),
        "accuracy": accuracy,
        "tokens": tokens,
    }
    assert got == pytest.approx(expected, rel=1e-5)


def test_smoothing_z_loss_and_losses_of_layers_do_not_count():
    model = h.sparse_model(layers=1)
    data = h.dataset(2, repeat=False)
    loss = numpy_means(model, data)[0]
    options = TokenCrossEntropy(z_loss=1.0, label_smoothing=0.5)
    assert evaluate(model, data, loss=options)["loss"] == pytest.approx(loss, rel=1e-5)


def test_it_takes_as_many_batches_as_asked_for_from_the_start_each_time():
    step = EvalStep(h.dense_model())
    data = h.dataset(4, shuffle=False)
    two = evaluate(step, data, steps=2)
    assert two == evaluate(step, data, steps=2)
    assert two["tokens"] == sum(float(w.numpy().sum()) for _, _, w in data.take(2))
    assert step._run.experimental_get_tracing_count() == 1


def test_a_model_that_is_certain_and_wrong_has_a_finite_perplexity():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Rescaling([-1e4, 0.0])])
    got = evaluate(model, [(np.ones((2, 1)), np.zeros((2,), "int32"))])
    assert got["loss"] == pytest.approx(1e4)
    assert 1e300 < got["perplexity"] < np.inf


def test_another_loss_is_averaged_over_its_values():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    x, y = np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")
    got = evaluate(model, [(x, y)], loss=keras.losses.MeanSquaredError())
    assert got["loss"] == pytest.approx(float(np.mean(np.square(model(x)))), rel=1e-5)
    assert set(got) == {"loss", "tokens"}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (h.dataset(0, repeat=False), "evaluation data is empty"),
        (h.dataset(1), "repeats forever"),
        ([(*h.batch()[:2], np.zeros((4, h.L)))], "are padding"),
    ],
)
def test_says_what_is_wrong_with_the_data(data, error):
    with pytest.raises(ValueError, match=error):
        evaluate(h.dense_model(), data)
