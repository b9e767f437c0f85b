"""Gradients and routing on meshes against one device; random numbers on a mesh."""

from unittest import mock

import numpy as np
import pytest
from helpers_mesh import RULES, batch, model
from helpers_partitioning import on_devices

from keras_switch import layers
from keras_switch.layers.dropout import SequenceDropout
from keras_switch.partitioning import Mesh, full, put

SPARSE = layers.SwitchFeedForward


def computed(made, data):
    """Returns the loss, every gradient, and the expert and fate of every choice."""
    import tensorflow as tf

    assigned, assign = [], SPARSE._assign

    def spy(*args):
        assigned.append(assign(*args))
        return assigned[-1]

    def run(inputs, targets, weights):
        assigned.clear()
        with tf.GradientTape() as tape:
            logits = made(inputs, training=True)
            loss = made.compute_loss(inputs, targets, logits, weights, training=True)
        gradients = tape.gradient(loss, [v.value for v in made.trainable_variables])
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        routes = [(a.expert, a.kept, a.mask) for a in assigned]
        return loss, gradients, routes

    with mock.patch.object(SPARSE, "_assign", spy):
        if made.mesh is None:
            found = tf.function(run, autograph=False)(*data)
        else:
            from keras_switch.partitioning.traced import Traced

            found = Traced(made, run)(*data)
    return tf.nest.map_structure(full, found)


def check(mesh, architecture, how, policy="tight"):
    alone = model(architecture, how, policy)
    with Mesh(mesh, RULES[mesh]):
        spread = model(architecture, how, policy)
    data = batch(architecture)
    (loss, gradients, routes), (loss2, gradients2, routes2) = (
        computed(made, data) for made in (alone, spread)
    )
    np.testing.assert_allclose(loss2, loss, atol=1e-5)
    for weight, a, b in zip(
        alone.trainable_weights, gradients, gradients2, strict=True
    ):
        np.testing.assert_allclose(b, a, atol=1e-5, err_msg=weight.path)
        assert np.abs(a).max() > 1e-4, weight.path
    assert len(routes) == len(routes2) == (1 + ("-dec" in architecture))
    for (expert, kept, mask), (expert2, kept2, _) in zip(routes, routes2, strict=True):
        np.testing.assert_array_equal(expert2, expert)
        np.testing.assert_array_equal(kept2, kept)
        assert kept.any() and not kept[mask].all()


@on_devices
def test_gradients_and_routing_are_those_of_one_device():
    check("data:4,model:2", "decoder-only", "gather")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "how", "architecture"),
    [
        ("data:8", "gather", "encoder-decoder"),
        ("model:2", "einsum", "encoder-decoder"),
        ("data:4,model:2", "einsum", "encoder-decoder"),
        ("data:2,expert:4", "einsum", "decoder-only"),
        ("data:2,expert:2,model:2", "gather", "encoder-decoder"),
        ("data:4", "gather", "decoder-only"),
    ],
)
@on_devices
def test_gradients_and_routing_are_the_same_on_every_mesh(mesh, how, architecture):
    check(mesh, architecture, how)


@on_devices
def test_parts_draw_numbers_of_their_own_and_copies_of_a_part_the_same():
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    mesh = Mesh("data:4,model:2", "batch:data")
    with mesh:
        dropout = SequenceDropout(0.5)
    x = put(
        np.ones((8, 3, 64), "float32"), mesh.layout(("batch", None, None), (8, 3, 64))
    )
    with mesh.running():
        y = tf.function(lambda x: dropout(x, training=True))(x)
    assert set(np.unique(full(y))) == {0, 2}
    parts = [part.numpy() for part in dtensor.unpack(y)]
    for data in range(4):
        np.testing.assert_array_equal(parts[2 * data], parts[2 * data + 1])
    assert len({part.tobytes() for part in parts}) == 4
    np.testing.assert_array_equal(full(y)[:, 0], full(y)[:, 2])


@pytest.mark.slow
@on_devices
def test_dropout_and_jitter_repeat_and_leave_all_copies_of_a_weight_alike():
    from tensorflow.experimental import dtensor

    mesh, data, losses = "data:4,model:2", batch("decoder-only"), []
    for _ in range(2):
        with Mesh(mesh, RULES[mesh]):
            made = model("decoder-only", "gather", "jitter", dropout_rate=0.3)
        losses.append([made.train_on_batch(*data)[0] for _ in range(3)])
    assert losses[0] == losses[1] and len(set(losses[0])) == 3
    for variable in made.weights + made.optimizer.variables:
        layout, value = variable.value.layout, variable.value.read_value()
        axes = [s for s in layout.sharding_specs if s != "unsharded"]
        parts = {}
        for place, part in zip(
            layout.mesh.local_device_locations(), dtensor.unpack(value), strict=True
        ):
            parts.setdefault(tuple(place[a] for a in axes), []).append(part.numpy())
        for first, *others in parts.values():
            for other in others:
                np.testing.assert_array_equal(first, other, err_msg=variable.path)
