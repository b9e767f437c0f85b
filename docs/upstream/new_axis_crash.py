"""`x[None]` of a DTensor kills the process (SIGSEGV); `tf.expand_dims` does not."""

import tensorflow as tf
from tensorflow.experimental import dtensor

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
mesh = dtensor.create_mesh([("data", 2)], devices=["CPU:0", "CPU:1"])
x = dtensor.pack([tf.ones((1, 3))] * 2, dtensor.Layout.batch_sharded(mesh, "data", 2))


@tf.function
def step(x):
    """Adds an axis."""
    return x[None]


with dtensor.default_mesh(mesh):
    print(tf.function(lambda x: tf.expand_dims(x, 0))(x).shape, flush=True)  # (1, 2, 3)
    print(step(x).shape)  # Segmentation fault
