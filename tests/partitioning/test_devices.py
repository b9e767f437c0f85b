import os
import subprocess
import sys

import pytest
from helpers_partitioning import on_devices

from keras_switch.partitioning import Mesh
from keras_switch.partitioning.devices import COMBINER

ADAM = """
import keras, numpy as np
import keras_switch.partitioning as p

def trained(model_class):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4, activation="tanh") for _ in range(3)]
    model = model_class([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(0.1, epsilon=1e-6), "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    for _ in range(3):
        model.train_on_batch(x, x[:, ::-1])
    return [w.numpy() for w in model.weights]

with p.Mesh("data:2,model:2", "batch:data") as mesh:
    print(mesh, trained(p.Sequential)[0].shape)
    found = trained(p.Sequential)
wanted = trained(keras.Sequential)
print(max(np.abs(a - b).max() for a, b in zip(found, wanted)))
"""

UPDATES = """
import keras, numpy as np, tensorflow as tf
import keras_switch.partitioning as p

mesh = p.Mesh("data:8", "batch:data")
with mesh:
    make = lambda: [keras.Variable(np.zeros(4, "float32")) for _ in range(3)]
    weights, momenta = make(), make()

@tf.function
def step(x):
    for i, (weight, momentum) in enumerate(zip(weights, momenta)):
        momentum.value.assign_add(tf.reduce_sum(x * (i + 1.0), axis=0))
        weight.value.assign_sub(momentum.value)  # must see the new momentum

x = p.put(np.ones((8, 4), "float32"), mesh.layout(("batch", None), (8, 4)))
with mesh.running():
    step(x)
print([float(w.numpy()[0]) for w in weights])
"""


def test_an_update_that_follows_another_sees_it():
    # Without `forbid_combiner` the weights are 0, 0, -24.
    environment = {k: v for k, v in os.environ.items() if k != COMBINER}
    done = subprocess.run(
        [sys.executable, "-c", UPDATES],
        env={**environment, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[-8.0, -16.0, -24.0]", done.stderr[-3000:]


def test_a_mesh_makes_virtual_devices_and_adam_steps_as_on_one_device():
    environment = {k: v for k, v in os.environ.items() if k != COMBINER}
    done = subprocess.run(
        [sys.executable, "-c", ADAM],
        env={**environment, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *_, mesh, difference = done.stdout.splitlines()
    assert mesh == "data:2,model:2 (4, 4)"
    assert float(difference) < 1e-5


@on_devices
def test_too_few_devices_are_an_error_that_says_what_to_do():
    for call in (lambda: Mesh("data:16"), lambda: Mesh("data:16", device_type="cpu")):
        with pytest.raises(ValueError, match="needs 16 CPU devices") as error:
            call()
        assert "TensorFlow has 8" in str(error.value)
        assert "virtual_cpus(16)" in str(error.value)
    with pytest.raises(ValueError, match="needs 2 GPU devices, but got 0"):
        Mesh("data:2", device_type="GPU")
    with pytest.raises(ValueError, match="no devices of type 'NPU'"):
        Mesh("data:2", device_type="NPU")
    with pytest.raises(ValueError, match=r"\['CPU:9'\] are not there"):
        Mesh("data:2", devices=["CPU:0", "CPU:9"])
    with pytest.raises(ValueError, match="needs 2 CPU devices, but got 1"):
        Mesh("data:2", devices=["CPU:0"])


@on_devices
def test_devices_can_be_chosen_and_counted_before():
    from keras_switch.partitioning import virtual_cpus

    virtual_cpus(8)
    with pytest.raises(ValueError, match="runs already, with 8 CPU devices"):
        virtual_cpus(4)
    mesh = Mesh("data:2", devices=["CPU:5", "CPU:3"])
    assert [d[-5:] for d in mesh.dtensor_mesh.local_devices()] == ["CPU:5", "CPU:3"]
    assert os.environ[COMBINER] == "0"


@on_devices
def test_wrong_shapes_and_rules_are_errors_before_any_device_is_looked_for():
    with pytest.raises(ValueError, match="no axis 'modle'"):
        Mesh("data:1024,model:2", "d_ff:modle")
    with pytest.raises(ValueError, match="no pair"):
        Mesh("data")
    assert repr(Mesh("data:2", "batch:data")) == (
        "Mesh('data:2', layout_rules='batch:data')"
    )


@on_devices
def test_functions_on_a_mesh_alone_are_compiled_without_graph_optimization():
    import tensorflow as tf

    known, name = tf.config.optimizer, "disable_meta_optimizer"
    before = known.get_experimental_options()[name]
    try:
        for outside in (False, True):
            known.set_experimental_options({name: outside})
            with Mesh("data:2", "batch:data").running():
                assert known.get_experimental_options()[name]
            assert known.get_experimental_options()[name] == outside
    finally:
        known.set_experimental_options({name: before})
