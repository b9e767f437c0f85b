"""Variables that live on a mesh, and how they come to be there."""

import contextlib

import keras
import numpy as np
import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning import scope
from keras_switch.partitioning.drawing import Drawing
from keras_switch.partitioning.transfer import full, put

# Graphs in which a variable may be read though no mesh is running: Keras infers shapes
# in the first, which never runs; TensorFlow writes checkpoints in the others.
_HARMLESS = ("scratch_graph", "tf_function_save", "tf_function_restore")


class MeshVariable(dtensor.DVariable):
    """A variable in parts on the devices of a mesh that takes and gives host values.

    In a graph it can be read only where its mesh is running: elsewhere a function would
    compute something else than it says.

    Args:
        initial_value: DTensor.
        placement: the `Mesh` of this library on which it lies.
        **kwargs: of `tf.Variable`.
    """

    def __init__(self, initial_value, *, placement, **kwargs):
        self._placement = placement
        super().__init__(initial_value, **kwargs)

    @property
    def placement(self):
        """The `Mesh` on which the variable lies."""
        return self._placement

    def assign(self, value, *args, **kwargs):
        self._check_mesh()
        if tf.executing_eagerly() and not _is_dtensor(value):
            value = put(np.asarray(value, self.dtype.as_numpy_dtype), self.layout)
        return super().assign(value, *args, **kwargs)

    def assign_add(self, delta, *args, **kwargs):
        self._check_mesh()
        return super().assign_add(delta, *args, **kwargs)

    def assign_sub(self, delta, *args, **kwargs):
        self._check_mesh()
        return super().assign_sub(delta, *args, **kwargs)

    def read_value(self):
        self._check_mesh()
        return super().read_value()

    def value(self):
        self._check_mesh()
        return super().value()

    def numpy(self):
        return full(self)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(full(self), dtype)

    def _dense_var_to_tensor(self, *args, **kwargs):
        self._check_mesh()
        return super()._dense_var_to_tensor(*args, **kwargs)

    def _check_mesh(self):
        if tf.executing_eagerly() or scope.running() or scope.exporting():
            return
        name = tf.compat.v1.get_default_graph().name
        if name.startswith(_HARMLESS):
            return
        raise ValueError(
            f"The variable {self.name!r} is on the mesh {str(self._placement)!r}, but "
            f"the function {name!r}, which uses it, does not run there. Train a "
            "keras_switch.Model instead of a keras.Model (or put "
            "keras_switch.partitioning.MeshTrainer before keras.Model among the bases "
            "of your class); to generate, use the copy on one device that "
            "`model.off_mesh()` returns; in a loop of your own, call the function "
            "inside `with mesh.running():`."
        )


def creator(mesh):
    """Returns a function for `tf.variable_creator_scope`: variables go on the mesh."""

    def create(next_creator, **kwargs):
        if scope.entered() is not mesh:  # suspended by `off_mesh`
            return next_creator(**kwargs)
        if not tf.executing_eagerly():
            raise ValueError(
                f"The variable {kwargs.get('name')!r} is made while a function is "
                "traced: on a mesh, make it before (in __init__ or build of a layer)."
            )
        value, dims, layout = kwargs["initial_value"], None, None
        with scope.set_to(dims=None), tf.device("CPU:0"):
            value = value() if callable(value) else value
            dims, layout = scope.noted_dims(), scope.slot_layout()
        return placed(mesh, value, dims, layout, **kwargs)

    return create


def placed(mesh, value, dims=None, layout=None, **kwargs):
    """Returns a new `MeshVariable` with this host value.

    Args:
        mesh: `Mesh`.
        value: host tensor or array, or a `Drawing`.
        dims: name of each dimension, or `None`: whole on every device.
        layout: `dtensor.Layout` that goes before `dims` if it is of the same rank.
        **kwargs: of `tf.Variable`: dtype, trainable and name are used.
    """
    if not isinstance(value, Drawing):
        value = tf.convert_to_tensor(value, dtype=kwargs.get("dtype"))
    shape = tuple(value.shape)
    if dims is not None:
        mesh.check([(kwargs.get("name"), shape, dims)])
        layout = mesh.layout(dims, shape)
    elif layout is None or layout.rank != len(shape):
        layout = mesh.layout((None,) * len(shape), shape)
    if isinstance(value, Drawing):
        value = value.put(layout)
    elif not _is_dtensor(value):
        value = put(value, layout)
    return MeshVariable(
        value,
        placement=mesh,
        dtype=kwargs.get("dtype"),
        trainable=kwargs.get("trainable", True),
        name=kwargs.get("name"),
    )


def adopt(mesh, variables):
    """Moves Keras variables made outside the mesh onto it, values and all.

    A variable that stayed outside would be one for all devices: each would count a
    step of its own in it. The layers, optimizers and metrics go on using the same Keras
    variables.
    """
    for variable in variables:
        if is_on_mesh(variable) or variable.value is None:
            continue
        raw = variable.value
        moved = placed(
            mesh,
            raw.numpy(),
            getattr(variable, "dims", None),
            dtype=raw.dtype,
            trainable=raw.trainable,
            name=variable.name,
        )
        variable._initialize(moved)


def take_off(variables):
    """Moves Keras variables from a mesh to the host, as far as they are on one."""
    for variable in variables:
        if is_on_mesh(variable):
            with scope.set_to(entered=None), tf.device("CPU:0"):
                value = full(variable)
                variable._initialize(tf.Variable(value, trainable=False))


def is_on_mesh(variable):
    """Returns whether a Keras variable lies on a mesh."""
    return isinstance(variable.value, MeshVariable)


def slots_like_weights(optimizer):
    """Makes an optimizer lay out new slots like the weights that they belong to."""
    original = optimizer.add_variable_from_reference
    if getattr(original, "lays_out_slots", False):
        return

    def add_variable_from_reference(reference_variable, name=None, initializer="zeros"):
        layout = getattr(
            getattr(reference_variable, "value", reference_variable), "layout", None
        )
        if layout is not None:
            initializer = scope.LaidOut(keras.initializers.get(initializer))
        with scope.set_to(slot=layout):
            return original(reference_variable, name, initializer)

    add_variable_from_reference.lays_out_slots = True
    optimizer.add_variable_from_reference = add_variable_from_reference


@contextlib.contextmanager
def created_on(mesh):
    """Makes new variables on the mesh while it lasts."""
    with scope.set_to(entered=mesh), tf.variable_creator_scope(creator(mesh)):
        yield


def _is_dtensor(value):
    return tf.is_tensor(value) and dtensor.is_dtensor(value)
