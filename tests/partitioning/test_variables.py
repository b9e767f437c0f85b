import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import layers, training
from keras_switch.partitioning import Mesh, full, put
from keras_switch.partitioning.variables import (
    MeshVariable,
    is_on_mesh,
    slots_like_weights,
)

RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"


def experts():
    keras.utils.set_random_seed(3)
    layer = layers.Experts(4, 6, name="experts")
    layer.build((None, None, 5))
    return layer


def specs(variable):
    return [s.replace("unsharded", "-") for s in variable.value.layout.sharding_specs]


@on_devices
def test_weights_are_made_in_parts_with_the_values_of_one_device():
    import tensorflow as tf
    from tensorflow.experimental import dtensor

    alone = experts()
    with Mesh("data:4,model:2", RULES):
        layer = experts()
    assert specs(layer.wi) == ["data", "-", "model"]
    for weight, other in zip(layer.weights, alone.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), other.numpy())
        np.testing.assert_array_equal(np.array(weight), other.numpy())
        assert type(other.value) is not MeshVariable
    parts = dtensor.unpack(layer.wi.value.read_value())
    assert {tuple(p.shape) for p in parts} == {(1, 5, 3)}
    np.testing.assert_array_equal(parts[3], alone.wi.numpy()[1:2, :, 3:])
    # Random states and stock weights are whole on every device.
    assert specs(layer.seed_generator.state) == ["-"]
    assert isinstance(tf.Variable(1.0), tf.Variable)


@on_devices
def test_host_values_can_be_assigned_and_read():
    with Mesh("data:4,model:2", RULES):
        layer = experts()
        dense = keras.layers.Dense(3)
        dense.build((None, 2))
    assert specs(dense.kernel) == ["-", "-"]
    new = np.arange(120, dtype="float32").reshape(4, 5, 6)
    layer.wi.assign(new)
    np.testing.assert_array_equal(full(layer.wi), new)
    layer.wi.assign(layer.wi + 1.0)
    np.testing.assert_array_equal(full(layer.wi.value), new + 1)
    layer.wi.assign_sub(layer.wi * 1.0)
    assert not full(layer.wi).any()
    values = [w + 1 for w in experts().get_weights()]
    layer.set_weights(values)
    for weight, value in zip(layer.get_weights(), values, strict=True):
        np.testing.assert_array_equal(weight, value)
    dense.kernel.assign(dense.kernel.numpy() * 0 + 2)
    assert (dense.get_weights()[0] == 2).all()


@on_devices
def test_slots_of_optimizers_are_laid_out_like_their_weights():
    with Mesh("data:4,model:2", RULES):
        layer = experts()
        adam = keras.optimizers.Adam()
        slots_like_weights(adam)
        adam.build(layer.trainable_variables)
        adafactor = training.Adafactor(training.InverseSquareRoot(), beta_1=0.9)
        adafactor.build(layer.trainable_variables)
    found = {v.path.split("/")[-1]: specs(v) for v in adam.variables}
    assert found["experts_wi_momentum"] == ["data", "-", "model"]
    assert found["experts_wo_velocity"] == ["data", "model", "-"]
    assert found["iteration"] == []
    found = {v.path.split("/")[-1]: specs(v) for v in adafactor.variables}
    assert found["experts_wi_vr"] == ["data", "-"]
    assert found["experts_wi_vc"] == ["data", "model"]
    assert found["experts_wi_m"] == ["data", "-", "model"]


@on_devices
def test_a_weight_that_cannot_be_split_is_an_error_before_it_is_made():
    with (
        Mesh("data:8", RULES.replace("model", "data")),
        pytest.raises(ValueError, match=r"experts=4 cannot be split over data:8"),
    ):
        layers.Experts(4, 8).build((None, None, 5))


@on_devices
def test_a_variable_made_while_tracing_is_an_error():
    import tensorflow as tf

    @tf.function(autograph=False)
    def step():
        keras.random.SeedGenerator(1, name="late")

    with (
        Mesh("data:8"),
        pytest.raises(ValueError, match="is made while a function is traced"),
    ):
        step()


@on_devices
def test_a_function_off_the_mesh_may_not_use_its_variables():
    import tensorflow as tf

    mesh = Mesh("data:8")
    with mesh:
        v = keras.Variable([1.0, 2.0])
    for use in (v.value.read_value, v.value.value, lambda: v + 1):
        with pytest.raises(ValueError, match=r"keras_switch.Model instead"):
            tf.function(use)()
    for change in (v.value.assign, v.value.assign_add, v.value.assign_sub):
        with pytest.raises(ValueError, match=r"with mesh.running"):
            tf.function(lambda change=change: change([1.0, 1.0]))()
    x = put([1.0, 5.0], mesh.layout((None,), (2,)))
    with mesh.running():
        np.testing.assert_array_equal(full(tf.function(lambda x: v * x)(x)), [1, 10])
    assert is_on_mesh(v)


@on_devices
def test_parts_and_wholes_are_put_and_read_back():
    mesh = Mesh("data:4,model:2", "batch:data,d_ff:model")
    x = np.arange(48).reshape(8, 6)
    for dims in ((None, None), ("batch", None), ("d_ff", "batch"), ("batch", "d_ff")):
        value = put(x, mesh.layout(dims, x.shape))
        np.testing.assert_array_equal(full(value), x)
    assert full(3.0) == 3.0
