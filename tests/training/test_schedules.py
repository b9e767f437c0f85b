import keras
import numpy as np
import pytest

from keras_switch.training.schedules import InverseSquareRoot, LinearTail, LinearWarmup


def at(schedule, *steps):
    return [float(schedule(step)) for step in steps]


def test_inverse_square_root_is_constant_until_warm_then_falls_with_the_root():
    schedule = InverseSquareRoot(base=2.0, warmup_steps=100)
    np.testing.assert_allclose(at(schedule, 0, 100, 400), [0.2, 0.2, 0.1], rtol=1e-6)


def test_t5s_default_starts_at_one_hundredth():
    np.testing.assert_allclose(at(InverseSquareRoot(), 0, 9_999), [0.01] * 2, rtol=1e-6)


def test_warm_up_rises_in_a_line_to_the_rate_it_is_given():
    schedule = LinearWarmup(0.5, warmup_steps=10)
    np.testing.assert_allclose(at(schedule, 0, 5, 10, 99), [0, 0.25, 0.5, 0.5])


def test_noam_is_the_inverse_root_with_a_linear_tail():
    # learning_rate_schedule_noam by hand: rsqrt(max(step, warm)) * min(1, left / tail)
    schedule = LinearTail(InverseSquareRoot(1.0, 100), total_steps=1000, fraction=0.1)
    expected = [0.1, 900**-0.5, 950**-0.5 * 0.5, 0.0, 0.0]
    got = at(schedule, 0, 900, 950, 1000, 1500)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_schedules_nest_and_survive_their_config():
    schedule = LinearTail(LinearWarmup(InverseSquareRoot(3.0, 7), 20), 500, 0.25)
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    steps = (0, 3, 19, 100, 450)
    assert at(again, *steps) == at(schedule, *steps)
    assert again.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: InverseSquareRoot(warmup_steps=0),
        lambda: LinearWarmup(1.0, 0),
        lambda: LinearTail(1.0, 0),
        lambda: LinearTail(1.0, 10, fraction=0.0),
    ],
)
def test_refuses_numbers_of_steps_that_cannot_be_meant(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        wrong()
