import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy
from keras import ops

from keras_switch import routing
from keras_switch.routing import losses

ALPHA = 0.03
E = 4
EVEN = np.tile(10.0 * np.eye(E), (2, 5, 1))  # (2, 20, E), each expert 5 times a group


def balance(logits, policy=None, mask=None):
    policy = policy or routing.Switch(balance_loss_weight=ALPHA)
    return numpy(policy.losses(helpers.assign(policy, logits, mask))["balance"])


@pytest.mark.parametrize("padding", losses.PADDINGS)
def test_even_routing_costs_exactly_alpha(padding):
    policy = routing.Switch(balance_loss_weight=ALPHA, padding=padding)
    np.testing.assert_allclose(balance(EVEN, policy), ALPHA, rtol=1e-6)
    np.testing.assert_allclose(balance(0 * EVEN, policy), ALPHA, rtol=1e-6)


@pytest.mark.parametrize("padding", losses.PADDINGS)
def test_collapse_costs_alpha_times_the_number_of_experts(padding):
    policy = routing.Switch(balance_loss_weight=ALPHA, padding=padding)
    collapsed = np.zeros((2, 20, E)) + 100.0 * (np.arange(E) == 2)
    np.testing.assert_allclose(balance(collapsed, policy), ALPHA * E, rtol=1e-6)


@pytest.mark.parametrize(
    "policy",
    [
        routing.TopK(2, balance_loss_weight=ALPHA),
        routing.GShardTop2(balance_loss_weight=ALPHA),
        routing.NoTokenLeftBehind(2, balance_loss_weight=ALPHA),
        routing.ExpertSelection(balance_loss_weight=ALPHA),
    ],
    ids=helpers.name,
)
def test_every_balance_loss_is_alpha_when_all_is_even(policy):
    np.testing.assert_allclose(balance(0 * EVEN, policy), ALPHA, rtol=1e-6)


def test_flaxformers_loss_counts_every_choice():
    policy = routing.TopK(2, balance_loss_weight=ALPHA, balance_over="all")
    np.testing.assert_allclose(balance(0 * EVEN, policy), 2 * ALPHA, rtol=1e-6)


def test_layers_and_groups_skewed_in_opposite_ways_do_not_cancel():
    left = np.tile([9.0, 0.0], (1, 8, 1))
    right = left[..., ::-1]
    skewed, other = balance(left), balance(right)
    np.testing.assert_allclose(skewed, other, rtol=1e-6)
    assert skewed > 1.9 * ALPHA
    both_groups = balance(np.concatenate([left, right]))
    np.testing.assert_allclose(both_groups, skewed, rtol=1e-6)
    as_layers = losses.over_layers([skewed, other], "mean")
    np.testing.assert_allclose(as_layers, skewed, rtol=1e-6)


def by_hand(probs, real):
    """Equation 4 of the paper over real tokens, one group after the other."""
    found = []
    for p, r in zip(probs, real, strict=True):
        if r.any():
            f = np.bincount(p[r].argmax(-1), minlength=E) / r.sum()
            found.append(E * (f * p[r].mean(0)).sum())
    return np.mean(found)


def test_balance_loss_equals_a_hand_count_over_real_tokens():
    rng = np.random.default_rng(3)
    logits, real = rng.normal(size=(3, 9, E)), rng.random((3, 9)) < 0.6
    real[1] = False  # a group of padding only
    expected = ALPHA * by_hand(helpers.softmax(logits), real)
    np.testing.assert_allclose(balance(logits, mask=real), expected, rtol=1e-5)


def test_z_loss_equals_a_hand_count_over_real_tokens():
    rng = np.random.default_rng(4)
    logits, real = rng.normal(size=(2, 6, E)), rng.random((2, 6)) < 0.6
    expected = np.square(np.log(np.exp(logits).sum(-1)))[real].mean()
    found = losses.z_loss(logits.astype("float32"), real.astype("float32"))
    np.testing.assert_allclose(numpy(found), expected, rtol=1e-5)


def test_the_z_loss_weight_is_the_whole_coefficient():
    policy = routing.Switch(z_loss_weight=0.1, balance_loss_weight=1e-2)
    found = policy.losses(helpers.assign(policy, 0 * EVEN))
    np.testing.assert_allclose(numpy(found["z"]), 0.1 * np.log(E) ** 2, rtol=1e-6)


def test_importance_is_zero_when_even_and_experts_less_one_when_collapsed():
    real = np.ones((2, 20), "float32")
    even = losses.importance_loss(EVEN.astype("float32"), real)
    np.testing.assert_allclose(numpy(even), 0, atol=1e-6)
    collapsed = np.zeros((2, 20, E), "float32") + 100.0 * (np.arange(E) == 2)
    found = numpy(losses.importance_loss(collapsed.astype("float32"), real))
    np.testing.assert_allclose(found, E - 1, rtol=1e-6)  # CV^2 of one in E


def test_load_loss_exists_in_training_only():
    policy = routing.TopK(
        1, exploration=routing.LogitNoise(), load_loss_weight=1.0, z_loss_weight=1.0
    )
    assignment = helpers.assign(policy, EVEN, training=True)
    assert set(policy.losses(assignment)) == {"balance", "z", "load"}
    assignment = helpers.assign(policy, EVEN)
    assert set(policy.losses(assignment, training=False)) == {"balance", "z"}


def test_losses_of_weight_zero_are_left_out():
    policy = routing.Switch(balance_loss_weight=0.0)
    assert policy.losses(helpers.assign(policy, EVEN)) == {}
    for policy in (routing.ExpertChoice(), routing.Soft(), routing.Hash()):
        assert policy.losses(helpers.assign(policy, EVEN)) == {}


@pytest.mark.parity
def test_the_balance_loss_has_a_gradient_through_the_probabilities_only():
    logits = np.random.default_rng(0).normal(size=(1, 6, E))
    f = np.bincount(logits[0].argmax(-1), minlength=E) / 6
    p = helpers.softmax(logits[0])
    # d/dlogit of E * sum_e f_e * mean_s p_se, with f constant.
    expected = E / 6 * p * (f - (p * f).sum(-1, keepdims=True))

    def loss(logits):
        policy = routing.Switch(balance_loss_weight=1.0)
        return policy.losses(policy.assign(logits, capacity=2))["balance"]

    np.testing.assert_allclose(helpers.gradient(loss, logits)[0], expected, atol=1e-6)


DIFFERENTIABLE = [
    policy
    for policy in helpers.POLICIES
    if policy.uses_router and "RandomSeconds" not in repr(policy)
]


@pytest.mark.parity
@pytest.mark.parametrize("policy", DIFFERENTIABLE, ids=helpers.name)
def test_gates_have_the_gradient_of_finite_differences(policy):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(1, 6, E))
    weight = rng.normal(size=(1, 6, E, 3)).astype("float32")

    def total(logits):
        combine = policy.assign(logits, capacity=3).one_hot()[1]
        return ops.sum(combine * weight)

    found = helpers.gradient(total, logits)
    assert np.abs(found).max() > 0.05
    for s, e in [(0, 0), (2, 3), (5, 1)]:
        step = np.zeros_like(logits)
        step[0, s, e] = 1e-2
        up, down = (numpy(total((logits + d).astype("float32"))) for d in (step, -step))
        np.testing.assert_allclose(found[0, s, e], (up - down) / 2e-2, atol=2e-3)


def test_layers_are_summed_or_averaged():
    assert losses.over_layers([1.0, 2.0, 6.0]) == 9.0
    assert losses.over_layers([1.0, 2.0, 6.0], "mean") == 3.0
    with pytest.raises(ValueError, match=r"reduction='max'.*'sum', 'mean'"):
        losses.over_layers([1.0], "max")
    with pytest.raises(ValueError, match=r"no losses.*no sparse layer"):
        losses.over_layers([])
