"""Messages that devices really send, read from lowered functions, against the plan."""

import collections

import keras
import pytest
from helpers_mesh import BATCH, LENGTH, ROUTING, RULES, adam, batch, model
from helpers_partitioning import on_devices

from keras_switch import explain_layout, planning
from keras_switch.partitioning import Mesh
from keras_switch.partitioning.explain import layout_of


def step(mesh, architecture, how, precision):
    """Returns a model on a mesh, its plan, and the messages of its first step."""
    import helpers_lowering

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        with Mesh(mesh, RULES[mesh]):
            made = model(architecture, how, weighted_metrics=[])
    finally:
        keras.config.set_dtype_policy(before)
    data = batch(architecture)
    sent = helpers_lowering.messages(lambda: made.train_on_batch(*data))
    plan = planning.plan(
        made.backbone.config,
        mesh,
        RULES[mesh],
        planning.Batch(BATCH, {"inputs": LENGTH, "targets": LENGTH}),
        optimizer=adam(),
        precision=precision,
    )
    return made, plan, [message for message in sent if message.shape]


def counted(messages, wide=False):
    """Returns number and bytes of messages by kind and group of devices.

    Args:
        messages: of a plan, or real ones.
        wide: whether to count sums and gathers of bfloat16 as CPUs do: in float32.
    """
    found = collections.defaultdict(lambda: [0, 0])
    for message in messages:
        times = getattr(message, "times", 1)
        narrow = message.dtype == "bfloat16" and message.kind != "all-to-all"
        row = found[message.kind, message.size]
        row[0] += times
        row[1] += times * message.bytes * (1 + (wide and narrow))
    return dict(found)


def check(mesh, architecture, how, precision="float32"):
    made, plan, sent = step(mesh, architecture, how, precision)
    assert counted(sent) == counted(plan.collectives, wide=True)
    # The weights and slots that the devices hold, to the byte.
    assert explain_layout(made).bytes_per_device - _states(made) == plan.memory.weights
    slots = [v for v in made.optimizer.variables if len(v.shape)]
    assert sum(layout_of(v).bytes_per_device for v in slots) == plan.memory.slots
    return sent


def _states(made):
    """Returns the bytes of what is no weight: random states, sums of metrics."""
    return sum(layout_of(v).bytes_per_device for v in made.non_trainable_weights)


def check_all_to_alls(sent, layers, dtype):
    """Two forward and two backward in every sparse layer, and nothing is gathered."""
    moved = [m for m in sent if m.kind == "all-to-all"]
    assert collections.Counter(m.backward for m in moved) == {
        False: 2 * layers,
        True: 2 * layers,
    }
    assert {m.dtype for m in moved} == {dtype}
    assert not [m for m in sent if m.kind == "all-gather"]


@on_devices
def test_rows_go_to_experts_and_back_by_all_to_all():
    sent = check("data:4,model:2", "decoder-only", "gather")
    check_all_to_alls(sent, 1, "float32")


@on_devices
def test_rows_travel_in_the_compute_dtype():
    sent = check("data:8", "decoder-only", "einsum", "mixed_bfloat16")
    check_all_to_alls(sent, 1, "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "how", "architecture"),
    [
        ("data:8", "gather", "encoder-decoder"),
        ("data:8", "dropless", "encoder-decoder"),
        ("data:4,model:2", "einsum", "encoder-decoder"),
    ],
)
@on_devices
def test_every_dispatch_sends_rows_by_all_to_all(mesh, how, architecture):
    check_all_to_alls(check(mesh, architecture, how), 2, "float32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "how", "architecture", "precision"),
    [
        ("model:2", "gather", "decoder-only", "float32"),
        ("data:4,model:2", "dense", "encoder-decoder", "mixed_bfloat16"),
        ("data:2,expert:4", "gather", "decoder-only", "float32"),
        ("data:2,expert:2,model:2", "gather", "encoder-decoder", "float32"),
        ("data:4", "gather", "encoder-decoder", "float32"),
        ("data:4", "dense", "decoder-only", "mixed_bfloat16"),
    ],
)
@on_devices
def test_the_plan_counts_every_message(mesh, how, architecture, precision):
    check(mesh, architecture, how, precision)


@on_devices
def test_a_device_keeps_the_activations_that_are_planned():
    import helpers_lowering
    import numpy as np

    from keras_switch import models, training

    sparse = models.Sparse(8, routing=ROUTING["switch"])
    sizes = {"vocab_size": 32, "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4}
    config = models.ModelConfig(
        **sizes, num_layers=2, architecture="decoder-only", sparse=sparse
    )
    mesh, length = "data:4,model:2", 24
    with Mesh(mesh, RULES[mesh]):
        made = models.SwitchCausalLM(models.SwitchBackbone(config))
        made.compile("sgd", training.TokenCrossEntropy(), weighted_metrics=[])
    ids = np.random.default_rng(0).integers(2, 32, (BATCH, length)).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    kept = helpers_lowering.kept_bytes(lambda: made.train_on_batch(inputs, ids))
    plan = planning.plan(
        config,
        mesh,
        RULES[mesh],
        planning.Batch(BATCH, {"targets": length}),
        precision="float32",
    )
    assert plan.memory.activations == pytest.approx(kept, rel=0.05)
