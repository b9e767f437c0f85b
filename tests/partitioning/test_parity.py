"""Models on meshes against the same models on one device."""

import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import dispatch, models, routing, training
from keras_switch.partitioning import Mesh

RULES = {
    "data:8": "batch:data,experts:data",
    "model:2": "d_ff:model,heads:model,vocab:model",
    "data:4,model:2": "batch:data,experts:data,d_ff:model,heads:model,vocab:model",
    "data:2,expert:4": "batch:data,experts:expert",
    "data:2,expert:2,model:2": "batch:data,experts:expert,d_ff:model,heads:model",
    "data:4": "batch:data,d_model:data",  # weights fully in parts
}
BATCH, LENGTH = 8, 6
DISPATCH = {
    "einsum": dispatch.EinsumDispatch(),
    "gather": dispatch.GatherDispatch(),
    "dropless": dispatch.DroplessDispatch(),
}
ROUTING = {
    "switch": routing.Switch(exploration=routing.Argmax()),
    "top2": routing.TopK(2, exploration=routing.Argmax()),
}


def batch(architecture):
    rng = np.random.default_rng(0)

    def tokens():
        real = np.arange(LENGTH) < rng.integers(LENGTH // 2, LENGTH + 1, (BATCH, 1))
        return rng.integers(2, 32, (BATCH, LENGTH)) * real, real.astype("int32")

    inputs = {}
    for prefix in ("encoder_", "decoder_") if "-dec" in architecture else ("",):
        ids, real = tokens()
        inputs[f"{prefix}token_ids"] = ids.astype("int32")
        inputs[f"{prefix}padding_mask"] = real
    targets, real = tokens()
    return inputs, targets, real.astype("float32")


def model(architecture, how, policy, optimizer):
    keras.utils.set_random_seed(0)
    sparse = None
    if how != "dense":
        sparse = models.Sparse(8, routing=ROUTING[policy], dispatch=DISPATCH[how])
    config = models.ModelConfig(
        vocab_size=32,
        d_model=8,
        d_ff=16,
        d_kv=4,
        num_heads=2,
        num_layers=2,
        architecture=architecture,
        sparse=sparse,
    )
    task = models.SwitchCausalLM
    if "-dec" in architecture:
        task = models.SwitchSeq2SeqLM
    made = task(models.SwitchBackbone(config))
    made.compile(optimizer(), training.TokenCrossEntropy(z_loss=1e-4))
    return made


def adam():
    return keras.optimizers.Adam(0.01, epsilon=1e-6)


def adafactor():
    return training.Adafactor(1e-2, factoring=training.T5XFactoring(2))


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
