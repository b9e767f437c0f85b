import pytest

from keras_switch.planning import (
    CHIPS,
    Axis,
    Nodes,
    Torus,
    chip,
    model_flops_utilization,
    palm_flops_per_token,
)


def test_palm_reached_the_utilization_that_its_paper_prints():
    # arXiv:2204.02311, section 4.1: 238.3 K tokens/s on 6,144 TPU v4, MFU 46.2 %.
    per_token = palm_flops_per_token(540.35e9, 118, 48, 256, 2048)
    mfu = model_flops_utilization(238.3e3, per_token, 6144, chip("tpu_v4").bfloat16)
    assert mfu == pytest.approx(0.462, abs=5e-4)


def test_the_network_of_a_pod_is_as_fast_as_its_vendor_says():
    # Bisection: 2 rings of 16 x 16 cut links each way, times 2; Cloud TPU docs.
    v4, v5e = chip("tpu_v4").network, chip("tpu_v5e").network
    assert 2 * 16 * 16 * v4.link == pytest.approx(24e12, rel=0.05)
    assert 2 * 16 * v5e.link == pytest.approx(1.6e12)


def test_a_ring_of_chips_needs_a_quarter_of_a_gather_for_an_all_to_all():
    # "How To Scale Your Model", part 3. On a ring of n an all-gather of V bytes takes
    # V / (2 w), an all-to-all of V (V / n on each chip) V / (8 w).
    ring, axis, size = Torus(1, 1e9), Axis(64, 1, 64), 1e9
    gather = ring.seconds("all-gather", size, axis)
    exchange = ring.seconds("all-to-all", size / 64, axis)
    assert exchange == pytest.approx(gather / 4)


def test_axes_of_a_mesh_share_the_dimensions_of_a_torus():
    torus = Torus(3, 1e9)
    assert torus.bandwidth(Axis(64, 32, 2048)) == 4e9
    assert torus.bandwidth(Axis(32, 1, 2048)) == 2e9
    assert torus.bandwidth(Axis(2048, 1, 2048)) == 6e9
    assert torus.bandwidth(Axis(1, 1, 1)) == 2e9


def test_an_axis_that_leaves_a_box_goes_through_the_network():
    nodes = Nodes(8, inside=450e9, outside=50e9)
    assert nodes.bandwidth(Axis(8, 1, 64)) == 450e9
    assert nodes.bandwidth(Axis(8, 8, 64)) == 50e9
    assert nodes.seconds("all-reduce", 50e9, Axis(16, 1, 16)) == 1


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_says_where_its_numbers_come_from(name):
    each = chip(name)
    assert each.source and each.float32 <= each.bfloat16
    assert each.peak("float32") == each.float32
    assert each.peak("bfloat16") == each.bfloat16


def test_an_unknown_chip_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no chip .tpu_v7.\. Nearest is .tpu_v"):
        chip("tpu_v7")
