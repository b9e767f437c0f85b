"""`x[:, 0]` of a DTensor is wrong if an axis that is not spelled out is split."""

import tensorflow as tf
from tensorflow.experimental import dtensor

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
mesh = dtensor.create_mesh([("model", 2)], devices=["CPU:0", "CPU:1"])
whole = tf.reshape(tf.range(8.0), (1, 2, 4))
layout = dtensor.Layout(["unsharded", "unsharded", "model"], mesh)
x = dtensor.pack([whole[:, :, :2], whole[:, :, 2:]], layout)

with dtensor.default_mesh(mesh):
    for index in (lambda x: x[:, 1], lambda x: tf.unstack(x, axis=1)[1]):
        y = tf.function(index)(x)
        parts = [part.numpy().tolist() for part in dtensor.unpack(y)]
        print(dtensor.fetch_layout(y).sharding_specs, parts)
