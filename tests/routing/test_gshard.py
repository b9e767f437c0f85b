import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing

LOGITS = np.log([[[0.6, 0.3, 0.1], [0.7, 0.1, 0.2], [0.5, 0.1, 0.4]]])


def asked(second, **options):
    policy = routing.GShardTop2(second_policy=second, **options)
    return numpy(helpers.assign(policy, LOGITS, training=True).place)[0] >= 0


def test_second_choices_are_asked_for_as_the_policy_says():
    # Normalised second gates: 1/3, 2/9, 4/9.
    assert asked(routing.AllSeconds())[:, 1].tolist() == [True, True, True]
    assert asked(routing.NoSeconds())[:, 1].tolist() == [False, False, False]
    above = asked(routing.ThresholdSeconds(threshold=0.3))
    assert above[:, 1].tolist() == [True, False, True]
    assert above[:, 0].all()


def test_random_seconds_are_asked_for_with_probability_gate_over_threshold():
    policy = routing.GShardTop2(second_policy=routing.RandomSeconds(threshold=0.4))
    n = 20_000
    logits = np.tile(LOGITS, (1, n, 1))
    place = numpy(helpers.assign(policy, logits).place)[0, :, 1].reshape(n, 3)
    expected = [1 / 3 / 0.4, 2 / 9 / 0.4, 1.0]
    np.testing.assert_allclose((place >= 0).mean(0), expected, atol=0.02)


def test_evaluation_may_have_a_policy_of_its_own():
    policy = routing.GShardTop2(
        second_policy=routing.AllSeconds(), second_policy_eval=routing.NoSeconds()
    )
    for training, expected in [(True, True), (False, False)]:
        found = helpers.assign(policy, LOGITS, training=training)
        assert (numpy(found.place)[..., 1] >= 0).all() == expected
        # Gates stay normalised by both.
        np.testing.assert_allclose(numpy(found.gate)[0, 0], [2 / 3, 1 / 3], rtol=1e-5)


def test_second_choices_queue_behind_all_first_choices():
    policy = routing.GShardTop2(second_policy=routing.AllSeconds())
    found = helpers.assign(policy, np.log([[[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]]]))
    assert numpy(found.place).tolist() == [[[0, 1], [0, 2], [1, 2]]]


def test_a_token_of_importance_one_half_has_second_choices_only():
    policy = routing.GShardTop2(second_policy=routing.AllSeconds())
    half = np.array([[1.0, 0.5, 0.0]], "float32")
    found = helpers.assign(policy, LOGITS, half)
    assert numpy(found.place).tolist() == [[[0, 0], [-1, 1], [-1, -1]]]
    assert numpy(found.expert)[0, 1, 1] == 0  # its best expert
    np.testing.assert_allclose(numpy(found.gate)[0, 1:], [[0, 1], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("padding", ["masked", "mesh_tensorflow"])
def test_second_place_loss_equals_a_count_by_hand(padding):
    policy = routing.GShardTop2(second_place_loss_weight=1.0, padding=padding)
    alike = helpers.assign(policy, np.zeros((1, 6, 4)))
    # All ask for expert 0, then 1; left over from 0, the others share 1/3 each.
    np.testing.assert_allclose(numpy(policy.second_place(alike)), 4 / 3, rtol=1e-6)
    turns = np.log([[[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]])
    cyclic = helpers.assign(policy, turns)
    np.testing.assert_allclose(numpy(policy.second_place(cyclic)), 1, rtol=1e-5)
    assert "second_place" in policy.losses(cyclic)
