"""Models on meshes against the same models on one device."""

import numpy as np
import pytest
from helpers_mesh import RULES, adafactor, adam, batch, model
from helpers_partitioning import on_devices

from keras_switch.partitioning import Mesh


def check(mesh, architecture, how, policy="switch", optimizer=adam):
    """Trains three steps on the mesh and on one device, and compares everything."""
    alone = model(architecture, how, policy, optimizer)
    with Mesh(mesh, RULES[mesh]):
        spread = model(architecture, how, policy, optimizer)
    data = batch(architecture)
    for _ in range(3):
        wanted = alone.train_on_batch(*data, return_dict=True)
        found = spread.train_on_batch(*data, return_dict=True)
        # Shares of tokens dropped, and the load of experts, are exact counts.
        assert found == pytest.approx(wanted, abs=2e-6)
    for a, b in zip(
        spread.weights + spread.optimizer.variables,
        alone.weights + alone.optimizer.variables,
        strict=True,
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)


@on_devices
def test_a_sparse_language_model_on_data_and_model_axes():
    check("data:4,model:2", "decoder-only", "gather")


@on_devices
def test_expert_and_model_axes_with_matrix_products():
    check("data:2,expert:2,model:2", "decoder-only", "einsum")


# Each mesh, each form, each architecture; all 36 would take a quarter of an hour.
SWEEP = (
    ("data:8", "gather", "encoder-decoder"),
    ("data:8", "einsum", "decoder-only"),
    ("model:2", "gather", "decoder-only"),
    ("data:4,model:2", "dense", "encoder-decoder"),
    ("data:2,expert:4", "gather", "decoder-only"),
    ("data:2,expert:2,model:2", "gather", "encoder-decoder"),
    ("data:4", "einsum", "encoder-decoder"),
    ("data:4", "dense", "decoder-only"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "how", "architecture"), SWEEP)
@on_devices
def test_every_partitioning_trains_like_one_device(mesh, how, architecture):
    check(mesh, architecture, how)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "policy"), [("gather", "top2"), ("dropless", "top2")])
@on_devices
def test_other_policies_and_adafactor_train_like_one_device(how, policy):
    check("data:4,model:2", "decoder-only", how, policy, adafactor)
