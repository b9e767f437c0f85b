"""The sparse layer against the layers of Mesh TensorFlow, flaxformer, Model Garden."""

import functools
import json
import pathlib

import keras
import numpy as np
import pytest
from helpers_dispatch import set_weights, step

from keras_switch.dispatch import (
    DroplessDispatch,
    EinsumDispatch,
    FixedGroups,
    FlaxformerGroups,
    GatherDispatch,
    MeshTensorFlowGroups,
)
from keras_switch.layers import Experts, GatedExperts, Router, SwitchFeedForward
from keras_switch.routing import (
    AllSeconds,
    Argmax,
    CapacityFactor,
    ExpertChoice,
    ExpertSelection,
    GShardTop2,
    NoTokenLeftBehind,
    Switch,
    TopK,
)

pytestmark = pytest.mark.parity

NUM_EXPERTS, D_FF = 4, 10


def golden_cases(origin):
    folder = pathlib.Path(__file__).parent.parent / "goldens" / origin
    return json.loads((folder / f"{origin_file(origin)}.json").read_text())["cases"]


def origin_file(origin):
    return "moe_layer_units" if origin == "mtf" else "moe_layer"


@functools.cache
def arrays(path):
    with np.load(path) as golden:
        return dict(golden)


@pytest.fixture
def golden(goldens):
    def read(origin):
        return arrays(goldens / origin / f"{origin_file(origin)}.npz")

    return read


def experts_of(gated, activation="relu", **kwargs):
    make = GatedExperts if gated else Experts
    return make(NUM_EXPERTS, D_FF, activation, name="experts", **kwargs)


def assert_close(got, expected, atol=5e-6):
    np.testing.assert_allclose(got, expected, atol=atol, rtol=0)


def assert_gradients(got, expected):
    assert set(got) == set(expected)
    for name, gradient in expected.items():
        atol = 1e-3 * np.abs(gradient).max() + 1e-7
        np.testing.assert_allclose(got[name], gradient, atol=atol, err_msg=name)


def mtf_policy(case):
    capacity = CapacityFactor(
        train=case["capacity_factor"],
        eval=case["capacity_factor"],
        minimum=case["min_expert_capacity"],
    )
    kwargs = {"capacity": capacity}
    if case["moe_z_loss"] and case["train"]:
        kwargs["z_loss_weight"] = case["moe_z_loss"] * case["loss_coef"]
    argmax = {"exploration": Argmax()}
    padding = {"padding": "mesh_tensorflow"}
    return {
        "switch": lambda: Switch(**argmax, **padding, **kwargs),
        "switch_max": lambda: Switch(
            **argmax, priority="probability", **padding, **kwargs
        ),
        "top_2": lambda: GShardTop2(second_policy=AllSeconds(), **padding, **kwargs),
        "ntlb": lambda: NoTokenLeftBehind(k=2, **argmax, **padding, **kwargs),
        "expert_selection": lambda: ExpertSelection(**padding, **kwargs),
    }[case["gating"]]()


@pytest.mark.parametrize("form", [EinsumDispatch(), GatherDispatch()], ids=str)
@pytest.mark.parametrize("case", golden_cases("mtf"), ids=lambda case: case["key"])
def test_it_is_mesh_tensorflow_s_layer(golden, case, form):
    data = golden("mtf")
    gated = isinstance(case["activation"], list)
    layer = SwitchFeedForward(
        NUM_EXPERTS,
        D_FF,
        routing=mtf_policy(case),
        dispatch=form,
        groups=MeshTensorFlowGroups(24),
        experts=experts_of(gated, "gelu" if gated else "relu"),
    )
    layer.build(data["x"].shape)
    names = ("wi_0", "wi_1", "wo") if gated else ("wi", "wo")
    set_weights(
        layer, kernel=data["gate_kernel"], **{name: data[name] for name in names}
    )
    mask = data["nonpadding"] == 1
    # The goldens' evaluation has a loss too; ours adds one in training only.
    y, loss, gradients = step(
        layer, data["x"], data["cotangent"], mask=mask, training=True
    )

    def expected(name):
        return data[f"{case['key']}|{name}"]

    assert_close(y, expected("y"))
    assert_close(loss, expected("loss"), 2e-6)
    assert_gradients(
        gradients,
        {
            "x": expected("grad_x"),
            "kernel": expected("grad_gate_kernel"),
            **{name: expected(f"grad_{name}") for name in names},
        },
    )


def flaxformer_policy(case):
    capacity = CapacityFactor(
        train=case["capacity_factor"],
        eval=case["capacity_factor"],
        minimum=case["min_expert_capacity"],
        rounding="round",
        at_most_group=False,
    )
    ignore = case["ignore_padding_tokens"]
    kwargs = {
        "capacity": capacity,
        "z_loss_weight": 1e-3,
        "padding": "flaxformer_ignore" if ignore else "flaxformer",
    }
    if case["router"] == "experts":
        return ExpertChoice(**kwargs)
    return TopK(
        case["num_selected_experts"],
        exploration=Argmax(),
        balance_over="all",
        balance_loss_weight=1e-2,
        priority="probability" if case["bpr"] else "position",
        **kwargs,
    )


@pytest.mark.parametrize(
    "case", golden_cases("flaxformer"), ids=lambda case: case["key"]
)
def test_it_is_flaxformer_s_layer(golden, case):
    data = golden("flaxformer")
    gated = len(case["activations"]) > 1
    layer = SwitchFeedForward(
        NUM_EXPERTS,
        D_FF,
        routing=flaxformer_policy(case),
        groups=FlaxformerGroups(case["max_group_size"], NUM_EXPERTS),
        experts=experts_of(gated, case["activations"][0]),
    )
    x = data[case["inputs"]]
    layer.build(x.shape)
    names = ("wi_0", "wi_1", "wo") if gated else ("wi", "wo")
    set_weights(
        layer, kernel=data["router_kernel"], **{name: data[name] for name in names}
    )
    mask = np.any(x != 0, axis=-1)
    cotangent = np.resize(data["cotangent"], x.shape)
    if x.shape != data["cotangent"].shape:
        cotangent = data["cotangent"][: x.shape[0], : x.shape[1]]
    y, loss, gradients = step(layer, x, cotangent, mask=mask, training=True)

    def expected(name):
        return data[f"{case['key']}|{name}"]

    assert_close(y, expected("y"))
    weighted = 1e-2 * expected("auxiliary_loss") + 1e-3 * expected("router_z_loss")
    assert_close(loss, weighted, 2e-6)
    assert_gradients(
        gradients,
        {
            "x": expected("grad/x"),
            "kernel": expected("grad/router/router_weights/w/kernel"),
            **{name: expected(f"grad/expert/{name}/kernel") for name in names},
        },
    )


@pytest.mark.parametrize("form", [GatherDispatch(), DroplessDispatch()], ids=str)
@pytest.mark.parametrize("case", golden_cases("tfm"), ids=lambda case: case["key"])
def test_it_is_model_garden_s_layer(golden, case, form):
    data = golden("tfm")
    factor = case["capacity_factor"]
    length = data["x"].shape[1]
    layer = SwitchFeedForward(
        NUM_EXPERTS,
        D_FF,
        routing=ExpertChoice(
            capacity=CapacityFactor(factor, factor, minimum=0, rounding="round"),
            z_loss_weight=case["router_z_loss_weight"],
        ),
        dispatch=form,
        groups=FixedGroups(int(case["examples_per_group"] * length)),
        experts=experts_of(
            False, getattr(keras.activations, case["activation"]), use_bias=True
        ),
        router=Router(NUM_EXPERTS, use_bias=True),
    )
    layer.build(data["x"].shape)
    set_weights(
        layer,
        kernel=data["router_kernel"],
        bias=data["router_bias"],
        **{name: data[name] for name in ("wi", "bi", "wo", "bo")},
    )

    def backbone(x):
        if not case["backbone"]:
            return keras.ops.zeros_like(x)
        act = getattr(keras.activations, case["activation"])
        hidden = act(keras.ops.matmul(x, data["bk_wi"]) + data["bk_bi"])
        return keras.ops.matmul(hidden, data["bk_wo"]) + data["bk_bo"]

    y, loss, gradients = step(
        layer,
        data["x"],
        data["cotangent"],
        more=lambda x, y: keras.ops.sum(backbone(x) * data["cotangent"]),
        training=True,
    )

    def expected(name):
        return data[f"{case['key']}|{name}"]

    dense = keras.ops.convert_to_numpy(backbone(data["x"]))
    assert_close(y + dense, expected("y"))
    assert_close(loss, expected("loss"), 2e-6)
    given = ("x", "router_kernel", "router_bias", "wi", "wo")
    grads = {name.removeprefix("router_"): expected(f"grad_{name}") for name in given}
    assert_gradients({name: gradients[name] for name in grads}, grads)
