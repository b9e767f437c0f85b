import pytest

from keras_switch.routing import CapacityFactor, FixedCapacity, Soft, Switch, TopK


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 15),  # 50 * 1.25 / 4 = 15.625
        ({"rounding": "round"}, 16),
        ({"rounding": "ceil"}, 16),
        ({"multiple_of": 4}, 16),
        ({"multiple_of": 8, "rounding": "ceil"}, 16),
        ({"per_choice": True}, 31),  # 31.25
        ({"minimum": 20}, 20),
        ({"minimum": 90}, 50),
        ({"minimum": 90, "at_most_group": False}, 90),
        ({"train": 0.0, "minimum": 0}, 1),
        ({"train": 9.0}, 50),
        ({"train": 9.0, "at_most_group": False}, 112),
    ],
)
def test_rows_in_training_for_50_tokens_4_experts_2_choices(options, expected):
    rows = CapacityFactor(**options).rows(50, 4, num_choices=2, training=True)
    assert (rows, type(rows)) == (expected, int)


def test_evaluation_has_a_factor_of_its_own():
    rule = CapacityFactor(train=1.0, eval=2.0)
    assert (rule.rows(32, 4, training=True), rule.rows(32, 4)) == (8, 16)


@pytest.mark.parametrize(("group", "expected"), [(10, 2), (14, 4)])
def test_round_sends_a_half_to_the_even_neighbour(group, expected):
    rule = CapacityFactor(eval=1.0, minimum=0, rounding="round")
    assert rule.rows(group, 4) == expected  # 2.5 and 3.5


def test_one_token_needs_one_row_whatever_the_minimum():
    assert CapacityFactor(minimum=4).rows(1, 8) == 1


def test_a_fixed_capacity_is_at_most_the_group():
    assert FixedCapacity(size=64).rows(100, 8) == 64
    assert FixedCapacity(size=64).rows(20, 8) == 20


def test_policies_ask_their_rule():
    per_choice = CapacityFactor(eval=1.0, per_choice=True)
    assert Switch(capacity=per_choice).rows(64, 8) == 8
    assert TopK(3, capacity=per_choice).rows(64, 8) == 24
    assert Soft(capacity=per_choice).rows(64, 8) == 64


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CapacityFactor(rounding="up"), "rounding='up'.*floor.*round.*ceil"),
        (lambda: CapacityFactor(train=-1), "train=-1.*at least 0"),
        (lambda: CapacityFactor(eval=float("nan")), "eval=nan.*at least 0"),
        (lambda: CapacityFactor(minimum=-2), "minimum=-2.*at least 0"),
        (lambda: CapacityFactor(multiple_of=0), "multiple_of=0.*at least 1"),
        (lambda: FixedCapacity(size=0), "size=0.*at least 1"),
    ],
)
def test_refuses_numbers_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
