"""DTensor's all-reduce combiner moves variable updates past later reads.

It is off, and the weights are right, if the environment has
DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION=0.
"""

import tensorflow as tf
from tensorflow.experimental import dtensor

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 8,
)
mesh = dtensor.create_mesh([("data", 8)], devices=[f"CPU:{i}" for i in range(8)])
whole = dtensor.Layout.replicated(mesh, rank=1)
rows = dtensor.Layout.batch_sharded(mesh, "data", rank=2)


def variable():
    """Returns four zeros on every device."""
    return dtensor.DVariable(dtensor.pack([tf.zeros(4)] * 8, whole))


weights = [variable() for _ in range(3)]
momenta = [variable() for _ in range(3)]


@tf.function
def step(x):
    """Adds gradients to the momenta, then momenta to the weights."""
    for i in range(3):
        gradient = tf.reduce_sum(x * (i + 1.0), axis=0)  # all-reduce: 8 * (i + 1)
        momenta[i].assign_add(gradient)
        weights[i].assign_sub(momenta[i])  # must see the new momentum


x = dtensor.pack([tf.ones((1, 4))] * 8, rows)
with dtensor.default_mesh(mesh):
    step(x)
for name, variables in (("momenta", momenta), ("weights", weights)):
    print(name, [float(dtensor.unpack(v.read_value())[0][0]) for v in variables])
