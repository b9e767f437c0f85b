"""Whole plans: their sums, their advice, their text."""

import dataclasses
import json
import sys

import helpers_models
import pytest

from keras_switch import models
from keras_switch.planning import CHIPS, Batch, Chip, Layout, Torus, plan, summary
from keras_switch.planning.timing import seconds
from keras_switch.routing import CapacityFactor, Switch

CONFIG = helpers_models.tiny(
    architecture="decoder-only", d_ff=32, sparse=models.Sparse(8)
)
RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"
# One FLOP, one byte, one second.
UNIT = Chip("unit", 1.0, 1.0, 10**9, 1.0, Torus(1, 0.5), "made up")


def planned(mesh="data:4,model:2", rules=RULES, config=CONFIG, size=8, **options):
    return plan(config, mesh, rules, Batch(size, {"targets": 16}), **options)


def warned(words, **options):
    found = planned(**options)
    return any(all(word in w for word in words) for w in found.warnings)


@pytest.fixture(scope="module")
def switch_c():
    config = models.preset("switch_c").config
    batch = Batch(16384, {"inputs": 512, "targets": 256})
    return plan(config, "data:2048", None, batch, "tpu_v4")


def test_the_largest_model_is_planned_without_allocating(switch_c):
    assert switch_c.parameters == 1_571_327_875_360
    assert switch_c.devices == 2048
    assert str(switch_c.rules) == "batch:data,experts:data"
    # One expert of each of 30 layers, 1/2048 of 1.57 T, and the 0.2 G parameters that
    # every device has; in float32.
    experts = 30 * 2 * 2080 * 6144
    assert switch_c.memory.weights // 4 - experts < 1e9
    kinds = {m.kind for m in switch_c.collectives if "dispatch" in m.name}
    assert kinds == {"all-to-all"}


def test_a_plan_counts_what_its_parts_count(switch_c):
    found = summary(switch_c.collectives)
    assert sum(row["times"] for row in found) == sum(
        m.times for m in switch_c.collectives
    )
    exchanges = [row for row in found if row["kind"] == "all-to-all"]
    assert exchanges[0]["times"] == 4 * 30
    assert [row["sent"] for row in found] == sorted(
        (row["sent"] for row in found), reverse=True
    )


def test_nothing_but_the_layers_own_library_is_needed():
    # Keras chooses its backend; the plan itself asks for none.
    for name, module in list(sys.modules.items()):
        if name.startswith("keras_switch.planning."):
            assert not {"tf", "tensorflow", "jax"} & set(vars(module)), name


def test_the_step_takes_the_longer_of_arithmetic_and_memory_and_then_the_network():
    found = planned("data:1", "batch:data", chip=UNIT, precision="float32")
    assert found.time.network == 0
    assert found.time.compute == found.flops.per_device == found.flops.step
    least = max(found.time.compute, found.time.memory)
    assert found.time.at_best == least <= found.time.step
    assert found.time.step <= found.time.compute + found.time.memory
    assert found.mfu == pytest.approx(found.flops.model / found.time.step)
    assert found.hfu == pytest.approx(found.flops.step / found.time.step)


def test_a_faster_network_shortens_only_the_network():
    slow = planned(chip=UNIT)
    fast = planned(chip=dataclasses.replace(UNIT, network=Torus(1, 1.0)))
    assert fast.time.network == pytest.approx(slow.time.network / 2)
    assert fast.time.compute == slow.time.compute
    layout = Layout(slow.mesh, slow.rules)
    each = sum(seconds(m, layout, UNIT) for m in slow.collectives)
    assert each == pytest.approx(slow.time.network)


def test_devices_that_share_all_work_do_nothing_twice():
    config = dataclasses.replace(CONFIG, sparse=None)
    found = planned("data:8", "batch:data", config)
    assert found.flops.per_device * 8 == pytest.approx(found.flops.step)


def test_the_usual_rules_leave_out_what_does_not_fit():
    config = helpers_models.tiny(num_heads=3, sparse=None)
    batch = Batch(8, {"inputs": 12, "targets": 8})
    assert str(plan(config, "data:4,model:2", None, batch).rules) == (
        "batch:data,d_ff:model,vocab:model"
    )
    assert str(plan(config, "rows:8", None, batch).rules) == ""


def test_every_mistake_of_a_layout_is_told_and_the_plan_is_made_all_the_same():
    found = planned(rules="batch:dta,experts:data,d_ff:data", size=8)
    text = "\n".join(found.mistakes)
    assert "the mesh 'data:4,model:2' has no axis 'dta'" in text
    assert "'experts', 'd_ff' are both split over 'data'" in text
    assert len(found.mistakes) == 3  # one for each kind of weight, not for each weight
    assert "THIS LAYOUT IS NOT POSSIBLE" in str(found)
    assert planned().mistakes == ()


def test_a_good_layout_is_not_warned_of():
    small = dataclasses.replace(
        CONFIG,
        num_layers=2,
        sparse=models.Sparse(
            8, routing=Switch(capacity=CapacityFactor(1.0, minimum=1))
        ),
    )
    found = planned("data:8", "batch:data,experts:data", small)
    assert [
        w for w in found.warnings if "alike" not in w and "same along" not in w
    ] == []


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["do not fit", "remat=True"], {"chip": dataclasses.replace(UNIT, memory=9)}),
        (["nothing is split over 'model'"], {"rules": "batch:data,experts:data"}),
        (["8 experts over the 16 devices"], {"mesh": "data:16", "size": 16}),
        (["6 sequences cannot be split over data:4"], {"size": 6}),
        (["6 routing groups of the decoder"], {"size": 6}),
        (["all-gathers over 'data', not all-to-alls"], {"size": 6}),
        (["same along 'data'", "d_ff"], {"mesh": "data:4", "rules": "batch:data"}),
        (["attention", "2 devices compute alike"], {"rules": "batch:data,d_ff:model"}),
        (["of the experts' rows are empty"], {}),
    ],
)
def test_waste_is_told_with_what_to_do(words, options):
    assert warned(words, **options)


def test_a_fitting_plan_is_not_told_to_shrink():
    assert planned().fits and not warned(["do not fit"])
    full = planned(chip=dataclasses.replace(UNIT, memory=9))
    assert not full.fits and "do not fit" in str(full)


def test_a_plan_is_json():
    found = planned()
    again = json.loads(json.dumps(found.as_dict()))
    assert again["parameters"] == found.parameters
    assert again["mesh"] == "data:4,model:2" and again["rules"] == RULES
    assert again["memory"]["slots"] == found.memory.slots
    assert again["collectives"][0]["kind"] == found.collectives[0].kind
    assert again["chip"]["source"]


@pytest.mark.parametrize("name", CHIPS)
def test_a_plan_reads_well_for_every_chip(name):
    text = str(planned(chip=name))
    assert max(map(len, text.splitlines())) <= 88
    assert f"Memory of one device ({name})" in text
    for line in ("optimizer slots", "all-to-all", "MFU at most", "tokens per second"):
        assert line in text


def test_a_batch_may_be_a_number():
    found = plan(CONFIG, "data:1", None, 4)
    assert found.batch == Batch(4, {"targets": 2048})
