"""Equality with what the original implementations computed."""

import json

import helpers_routing as helpers
import numpy as np
import pytest
from helpers_routing import numpy

from keras_switch import routing
from keras_switch.routing import losses

pytestmark = pytest.mark.parity

SECONDS = {
    "all": routing.AllSeconds(),
    "none": routing.NoSeconds(),
    "threshold": routing.ThresholdSeconds(0.2),
}


def by_key(file):
    return pytest.mark.parametrize(
        "case", [pytest.param(c, id=c["key"]) for c in helpers.cases(file)]
    )


def mesh_tensorflow_policy(case):
    hparams = case["hparams_override"]
    options = {
        "padding": "mesh_tensorflow",
        "balance_loss_weight": 1.0,
        "z_loss_weight": hparams.get("moe_z_loss", 0.0),
        "exploration": routing.Argmax(),
    }
    stage = "train" if case["train"] else "eval"
    second = SECONDS[hparams.get(f"moe_second_policy_{stage}", "all")]
    match case["fn"]:
        case "switch_gating":
            return routing.Switch(**options)
        case "switch_max_gating":
            return routing.Switch(priority="probability", **options)
        case "ntlb_gating":
            k = hparams.get("moe_ntlb_top_k", 2)
            return routing.NoTokenLeftBehind(k, **options)
        case "expert_selection_gating":
            return routing.ExpertSelection(**options)
        case "top_2_gating":
            place = 0.5 * hparams.get("moe_use_second_place_loss", False)
            return routing.GShardTop2(
                second_policy=second, second_place_loss_weight=place, **options
            )
        case "top_n_gating":
            k = hparams["moe_top_n_num_experts_per_token"]
            return routing.GShardTopN(k, second_policy=second, **options)


def check_mesh_tensorflow(file, case):
    golden, key = helpers.arrays(file), case["key"]
    policy = mesh_tensorflow_policy(case)
    logits = golden["inputs"] @ golden["gate_kernel"]
    mask = {"none": None, "pad": "importance_pad", "frac": "importance_frac"}
    mask = mask[case["importance"]]
    assignment = policy.assign(
        logits,
        None if mask is None else golden[mask],
        capacity=case["capacity"],
        training=case["train"],
    )
    dispatch, combine = assignment.one_hot()
    np.testing.assert_array_equal(numpy(dispatch), golden[f"{key}|dispatch"])
    np.testing.assert_allclose(numpy(combine), golden[f"{key}|combine"], atol=1e-6)
    loss = sum(policy.losses(assignment, case["train"]).values())
    np.testing.assert_allclose(numpy(loss), golden[f"{key}|loss"], atol=1e-6)


@by_key("mtf/gating_units")
def test_equals_mesh_tensorflow(case):
    check_mesh_tensorflow("mtf/gating_units", case)


@by_key("mtf/gating_units_v0121")
def test_equals_mesh_tensorflow_0_1_21(case):
    check_mesh_tensorflow("mtf/gating_units_v0121", case)


def flaxformer_policy(case):
    padding = "flaxformer"
    if case["ignore_padding_tokens"]:
        scatter = "Scatter" in case["kind"]
        padding = "flaxformer_scatter_ignore" if scatter else "flaxformer_ignore"
    if case["kind"] == "ExpertsChooseMaskedRouter":
        return routing.ExpertChoice(padding=padding, z_loss_weight=1.0)
    return routing.TopK(
        case["num_selected_experts"],
        padding=padding,
        priority="probability" if case["batch_prioritized_routing"] else "position",
        balance_over="all",
        balance_loss_weight=1.0,
        z_loss_weight=1.0,
    )


@by_key("flaxformer/routers")
def test_equals_flaxformer(case):
    golden, key = helpers.arrays("flaxformer/routers"), case["key"]
    policy, inputs = flaxformer_policy(case), golden[case["inputs"]]
    logits, mask = inputs @ golden["kernel"], inputs.any(-1)
    assignment = policy.assign(logits, mask, capacity=case["capacity"])
    if f"{key}|dispatch_indices" in golden:
        pairs = np.stack([numpy(assignment.expert), numpy(assignment.place)], -1)
        np.testing.assert_array_equal(pairs, golden[f"{key}|dispatch_indices"])
        gate = numpy(assignment.gate) * numpy(assignment.kept)
        np.testing.assert_allclose(gate, golden[f"{key}|combine_weights"], atol=1e-6)
    else:
        dispatch, combine = assignment.one_hot()
        np.testing.assert_array_equal(numpy(dispatch), golden[f"{key}|dispatch_mask"])
        expected = golden[f"{key}|combine_array"]
        np.testing.assert_allclose(numpy(combine), expected, atol=1e-6)
    found = policy.losses(assignment)
    expected = golden[f"{key}|auxiliary_loss"]
    np.testing.assert_allclose(numpy(found.get("balance", 0.0)), expected, atol=1e-6)
    expected = golden[f"{key}|router_z_loss"]
    np.testing.assert_allclose(numpy(found["z"]), expected, rtol=1e-6)


@pytest.mark.parametrize("key", helpers.cases("vmoe/routers"))
def test_equals_v_moe(key):
    golden = helpers.arrays("vmoe/routers")
    kind, capacity, *rest = key.split("|")
    policy = routing.ExpertChoice()
    if kind == "experts_per_item":
        policy = routing.TopK(
            int(rest[0][1:]),
            priority="probability" if rest[1] == "bp1" else "position",
            balance_loss_weight=0.5,
            importance_loss_weight=1.0,
        )
    logits = golden["inputs"] @ golden["kernel"]
    assignment = policy.assign(logits, capacity=int(capacity[3:]))
    dispatch, combine = map(numpy, assignment.one_hot())
    if rest[-1:] == ["indices"]:
        pairs = np.stack([numpy(assignment.expert), numpy(assignment.place)], -1)
        np.testing.assert_array_equal(pairs, golden[f"{key}|indices"])
        expected = golden[f"{key}|combine_weights"]
        np.testing.assert_allclose(numpy(assignment.gate), expected, atol=1e-6)
    else:
        np.testing.assert_array_equal(dispatch, golden[f"{key}|dispatch_weights"])
        expected = golden[f"{key}|combine_weights"]
        np.testing.assert_allclose(combine, expected, atol=1e-6)
    if kind == "experts_per_item":
        rows = np.einsum("gsec,gsd->gecd", dispatch, golden["data"])
        rows *= np.arange(1, rows.shape[1] + 1)[:, None, None]
        scaled = np.einsum("gsec,gecd->gsd", combine, rows)
        expected = golden[f"{key}|identity_scaled_combine"]
        np.testing.assert_allclose(scaled, expected, atol=2e-6)
    total = sum(policy.losses(assignment).values())
    expected = golden[f"{key}|metric_auxiliary_loss"].mean()
    np.testing.assert_allclose(numpy(total), expected, atol=1e-6)


@pytest.mark.parametrize("std", [0.25, 1.0])
@pytest.mark.parametrize("k", [1, 2])
def test_load_loss_equals_v_moe(k, std):
    golden = helpers.arrays("vmoe/routers")
    logits, noisy = golden["inputs"] @ golden["kernel"], golden["logits_noisy"]
    real = np.ones(logits.shape[:2], "float32")
    for g, expected in enumerate(golden[f"load_loss|k{k}|std{std}"]):
        one = slice(g, g + 1)
        loss = losses.load_loss(logits[one], noisy[one], real[one], k, std)
        np.testing.assert_allclose(numpy(loss), expected, atol=1e-6)


def test_capacity_equals_v_moe(goldens):
    found = json.loads((goldens / "vmoe" / "routers.json").read_text())
    for case in found["compute_capacity"]:
        rule = routing.CapacityFactor(
            train=case["capacity_factor"],
            minimum=0,
            rounding=case["ceil_or_round"],
            multiple_of=case["multiple_of"] or 1,
            per_choice=True,
            at_most_group=False,
        )
        rows = rule.rows(case["num_tokens"], case["num_experts"], training=True)
        assert rows == case["capacity"], case


@by_key("tfm/moe_layer")
def test_equals_model_garden(case):
    golden, key = helpers.arrays("tfm/moe_layer"), case["key"]
    policy = routing.ExpertChoice(
        capacity=routing.CapacityFactor(
            eval=case["capacity_factor"], minimum=0, rounding="round"
        ),
        z_loss_weight=case["router_z_loss_weight"],
    )
    x, probs = golden["x"], golden[f"{key}|router_probs"]
    x = x.reshape(*probs.shape[:2], x.shape[-1])
    logits = x @ golden["router_kernel"] + golden["router_bias"]
    rows = policy.rows(*probs.shape[1:])
    assert rows == case["capacity"]
    assignment = policy.assign(logits, capacity=rows)
    np.testing.assert_allclose(numpy(assignment.probs), probs, atol=1e-6)
    dispatch, combine = (numpy(x).sum(-1) for x in assignment.one_hot())
    np.testing.assert_array_equal(dispatch, golden[f"{key}|dispatch_tokens"])
    np.testing.assert_allclose(combine, golden[f"{key}|combine_tokens"], atol=1e-6)
    loss = sum(policy.losses(assignment).values())
    np.testing.assert_allclose(numpy(loss), golden[f"{key}|loss"], atol=1e-6)
