"""A mesh of devices with the rules by which tensors are laid out on it."""

import contextlib

import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning import devices as find
from keras_switch.partitioning import scope, together
from keras_switch.partitioning.clients import sharing
from keras_switch.partitioning.rules import LayoutRules
from keras_switch.partitioning.shape import MeshShape
from keras_switch.partitioning.variables import created_on


class Mesh:
    """Devices with named axes, and rules for splitting named dimensions over them.

    Inside `with mesh:` every new variable is made in parts on the devices: weights of
    this library's layers as the rules say, all others whole on each device. Models of
    this library, and `keras_switch.Model`, then train, evaluate and predict there.

    Args:
        shape: `MeshShape` or a string, `"data:4,model:2"`.
        layout_rules: `LayoutRules` or a string,
            `"batch:data,experts:data,d_ff:model,heads:model,vocab:model"`.
        device_type: `"CPU"`, `"GPU"` or `"TPU"`; `None`: TPU or GPU where there is one.
            On CPUs virtual devices are made if TensorFlow does not run yet.
        devices: names of the devices in the order of the mesh; `None`: the first ones.

    Raises:
        ValueError: if the shape or the rules are wrong, or there are too few devices.

    Example:
    ```python
    mesh = ks.Mesh("data:4,model:2", layout_rules="batch:data,d_ff:model,heads:model")
    with mesh:
        model = ks.models.SwitchCausalLM.from_preset("switch_lm_tiny")
        model.compile("adam")
    model.fit(dataset)
    ```
    """

    def __init__(self, shape, layout_rules="", device_type=None, devices=None):
        self.shape = MeshShape.parse(shape)
        self.rules = LayoutRules.parse(layout_rules)
        self.rules.check(self.shape)
        find.forbid_combiner()
        self.dtensor_mesh = find.create(self.shape, device_type, devices)
        batch_axis = self.rules.axis_of("batch")
        #: The processes that share the mesh: `number`, `index`, `share` of a batch.
        self.clients = sharing(self.dtensor_mesh, batch_axis)
        self._entered, self._seeds_checked = [], False

    def __str__(self):
        return str(self.shape)

    def __repr__(self):
        return f"Mesh({str(self.shape)!r}, layout_rules={str(self.rules)!r})"

    def description(self) -> str:
        """Returns a sentence about the mesh for the log of a run."""
        kind = self.dtensor_mesh.device_type()
        processes = f"{self.clients.number} process{'es' * (self.clients.number > 1)}"
        return (
            f"Mesh {self.shape} of {self.shape.num_devices} {kind} devices of "
            f"{processes}; layout {self.rules}"
        )

    def __enter__(self):
        if not self._seeds_checked:
            together.check_seeds(self)
            self._seeds_checked = True
        self._entered.append(created_on(self))
        self._entered[-1].__enter__()
        return self

    def __exit__(self, *error):
        return self._entered.pop().__exit__(*error)

    @contextlib.contextmanager
    def running(self):
        """Runs functions on the mesh while it lasts, for training loops of your own.

        Give them DTensors (`mesh.put`), and make all variables before.
        """
        running = dtensor.default_mesh(self.dtensor_mesh), scope.set_to(running=self)
        with running[0], running[1], find.quickly_compiled():
            yield

    def check(self, weights):
        """Raises `ValueError` with every mistake of `(path, shape, dims)` weights."""
        self.rules.check(self.shape, weights)

    def layout(self, dims, shape):
        """Returns the `dtensor.Layout` of a tensor; see `LayoutRules.specs`."""
        specs = self.rules.specs(dims, shape, self.shape)
        return dtensor.Layout(
            [spec or dtensor.UNSHARDED for spec in specs], self.dtensor_mesh
        )

    def constrain(self, x, dims):
        """Returns `x` laid out as the rules say; see `partitioning.constrain`."""
        x = tf.convert_to_tensor(x)
        if len(dims) != x.shape.rank:
            raise ValueError(
                f"constrain got {len(dims)} names {dims} for a tensor of shape "
                f"{tuple(x.shape)}: give one name, or None, per dimension."
            )
        return dtensor.relayout(x, self.layout(dims, x.shape))
