"""`x[:, 1]` of a DTensor is wrong if an axis that is not spelled out is split."""

import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 8,
)
axes, names = [("data", 4), ("model", 2)], [f"CPU:{i}" for i in range(8)]
mesh = dtensor.create_mesh(axes, devices=names)
whole = np.arange(8 * 3 * 4 * 2, dtype="float32").reshape(8, 3, 4, 2)
layout = dtensor.Layout(["unsharded", "unsharded", "model", "unsharded"], mesh)
halves = [tf.constant(whole[:, :, :2]), tf.constant(whole[:, :, 2:])]
x = dtensor.pack(halves * 4, layout)

with dtensor.default_mesh(mesh):
    for index in (lambda x: x[:, 1], lambda x: tf.unstack(x, axis=1)[1]):
        y = tf.function(index, autograph=False)(x)
        specs = dtensor.fetch_layout(y).sharding_specs
        parts = dtensor.unpack(y)[:2]
        print(specs, [part.numpy()[0].tolist() for part in parts], flush=True)
print("should be", whole[0, 1].tolist())
