import helpers_routing as helpers
import keras
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

X = np.random.default_rng(0).normal(size=(2, 50, 40)).astype("float32")
LOGITS = np.array([[1.0, 0.2, -0.5, -2.0]])


def seed():
    return keras.random.SeedGenerator(1)


def perturbed(exploration, training=True, x=X):
    policy = routing.Switch(exploration=exploration)
    return numpy(policy.perturb(x, training=training, seed=seed()))


def test_jitter_multiplies_by_uniform_noise_of_mean_one():
    noise = perturbed(routing.InputJitter(eps=0.1)) / X
    assert 0.9 - 1e-5 <= noise.min() < 0.91 and 1.09 < noise.max() <= 1.1 + 1e-5
    assert abs(noise.mean() - 1) < 3 * 0.1 / np.sqrt(3 * noise.size)
    assert abs(noise.std() - 0.1 / np.sqrt(3)) < 2e-3


def test_input_dropout_keeps_the_mean():
    kept = perturbed(routing.InputDropout(rate=0.25)) / X
    assert abs((kept == 0).mean() - 0.25) < 0.03
    np.testing.assert_allclose(kept[kept != 0], 1 / 0.75, rtol=1e-5)


@pytest.mark.parametrize(
    "exploration", [routing.InputJitter(eps=0.5), routing.InputDropout(rate=0.5)]
)
def test_the_layers_inputs_are_left_alone(exploration):
    x, before = keras.ops.convert_to_tensor(X), X.copy()
    assert not np.allclose(perturbed(exploration, x=x), before)
    np.testing.assert_array_equal(numpy(x), before)


@pytest.mark.parametrize(
    "exploration",
    [
        routing.InputJitter(eps=0.5),
        routing.InputDropout(rate=0.5),
        routing.Sample(temperature=9.0),
        routing.LogitNoise(std=9.0),
    ],
)
def test_outside_training_nothing_is_explored(exploration):
    np.testing.assert_array_equal(perturbed(exploration, training=False), X)
    policy = routing.TopK(2, exploration=exploration)
    plain = helpers.assign(routing.TopK(2), X[..., :4], capacity=20)
    found = helpers.assign(policy, X[..., :4], capacity=20)
    np.testing.assert_array_equal(numpy(found.expert), numpy(plain.expert))
    np.testing.assert_array_equal(numpy(found.gate), numpy(plain.gate))


@pytest.mark.parity
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_samples_follow_the_softmax_at_their_temperature(temperature):
    policy = routing.Switch(exploration=routing.Sample(temperature))
    logits, n = np.tile(LOGITS, (1, 20_000, 1)), 20_000
    assignment = helpers.assign(policy, logits, training=True)
    expected = helpers.softmax(LOGITS[0] / temperature)
    found = np.bincount(numpy(assignment.expert).ravel(), minlength=4) / n
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / n))
    # The gate is the probability at temperature 1.
    gate = helpers.softmax(LOGITS[0])[numpy(assignment.expert)]
    np.testing.assert_allclose(numpy(assignment.gate), gate, atol=1e-6)


def test_several_samples_are_drawn_without_replacement():
    policy = routing.TopK(2, exploration=routing.Sample())
    logits, n = np.tile(LOGITS, (1, 20_000, 1)), 20_000
    assignment = helpers.assign(policy, logits, training=True)
    first, second = numpy(assignment.expert)[0].T
    assert (first != second).all()
    p = helpers.softmax(LOGITS[0])
    expected = p[0] * p[2] / (1 - p[0])
    found = ((first == 0) & (second == 2)).mean()
    assert abs(found - expected) < 4 * np.sqrt(0.25 / n)


def test_logit_noise_is_normal_with_deviation_std_over_experts():
    policy = routing.Switch(exploration=routing.LogitNoise(std=2.0))
    logits = np.tile(LOGITS, (1, 20_000, 1))
    assignment = helpers.assign(policy, logits, training=True)
    noise = numpy(assignment.noisy_logits) - numpy(assignment.logits)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 2.0 / 4) < 0.01
    np.testing.assert_allclose(numpy(assignment.logits), logits, atol=1e-6)
    expected = helpers.softmax(numpy(assignment.noisy_logits))
    np.testing.assert_allclose(numpy(assignment.probs), expected, atol=1e-6)


def test_draws_differ_from_step_to_step():
    policy = routing.Switch(exploration=routing.InputJitter())
    generator = seed()
    first, second = (policy.perturb(X, True, generator) for _ in range(2))
    assert not np.array_equal(numpy(first), numpy(second))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: routing.InputJitter(eps=-1), "eps=-1.*at least 0"),
        (lambda: routing.InputDropout(rate=1.0), "rate=1.0.*0 <= rate < 1"),
        (lambda: routing.Sample(temperature=0.0), r"temperature=0.0.*Argmax\(\)"),
        (lambda: routing.LogitNoise(std=-1), "std=-1.*at least 0"),
    ],
)
def test_refuses_numbers_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
