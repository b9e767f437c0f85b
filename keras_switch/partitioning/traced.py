"""Functions of batches, traced on the mesh of a model."""

import numpy as np
import tensorflow as tf
from keras import tree
from tensorflow.experimental import dtensor

from keras_switch.partitioning import scope
from keras_switch.partitioning.transfer import pack_local, put
from keras_switch.partitioning.variables import MeshVariable, is_on_mesh


def traced_for(model, function, jit_compile=False):
    """Returns a function of batches as a graph, on the mesh of the model if it has one.

    Args:
        model: Keras model.
        function: of nested host arrays, which it gets as tensors on the mesh.
        jit_compile: whether XLA compiles it.

    Raises:
        ValueError: if XLA is asked for on a mesh.
    """
    mesh = getattr(model, "mesh", None)
    if mesh is None:
        return tf.function(function, jit_compile=jit_compile)
    refuse_xla(model, jit_compile)
    return Traced(model, function)


def refuse_xla(model, jit_compile):
    """Raises `ValueError` if XLA is asked for: it compiles nothing on a mesh."""
    if jit_compile:
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, where steps are not "
            "compiled by XLA: leave jit_compile out."
        )


class Traced:
    """A function of batches on a mesh; every shape of batch has a trace of its own.

    Args:
        model: with a `mesh`.
        function: of nested arrays.
    """

    def __init__(self, model, function):
        self.model = model
        self.function = tf.function(function, autograph=False)
        self._checked = set()

    def __call__(self, *batch):
        """Calls it with host arrays, this process's rows of a batch."""
        mesh = self.model.mesh
        with mesh.running():
            data = tree.map_structure(lambda x: split(mesh, x), batch)
            self._check(data)
            return self.function(*data)

    def _check(self, data):
        """Raises `ValueError` if the trace of a batch uses a variable off the mesh."""
        key = tuple(None if x is None else x.shape for x in tree.flatten(data))
        if key in self._checked:
            return
        used = self.function.get_concrete_function(*data).graph.variables
        refuse_outsiders(
            self.model, [v.name for v in used if not isinstance(v, MeshVariable)]
        )
        self._checked.add(key)


def split(mesh, value):
    """Returns a host array as a DTensor, its first axis split as the rules say.

    Args:
        mesh: `Mesh`.
        value: this process's rows of the batch; see `Mesh.clients`.

    Raises:
        ValueError: if it is ragged or sparse, or if several processes feed a batch that
            the devices cannot share evenly.
    """
    if value is None or (tf.is_tensor(value) and dtensor.is_dtensor(value)):
        return value
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        raise ValueError(
            f"A batch holds a {type(value).__name__}, which cannot be split over a "
            "mesh: make it dense first (its method to_tensor)."
        )
    value = np.asarray(value)
    names = ("batch", *(None,) * value.ndim)[: value.ndim]
    if not names:
        return put(value, mesh.layout(names, value.shape))
    parts = mesh.clients.share.of
    whole = (value.shape[0] * parts, *value.shape[1:])
    layout = mesh.layout(names, whole)
    if parts > 1 and layout.sharding_specs[0] == dtensor.UNSHARDED:
        axis = mesh.rules.axis_of("batch")
        raise ValueError(
            f"{parts} processes feed {len(value)} rows each of a batch that is split "
            f"over {axis}:{mesh.shape.size(axis)}: give every process a multiple of "
            f"{mesh.shape.size(axis) // parts} rows (drop_remainder=True of a dataset)."
        )
    return pack_local(value, layout)


def laid_out_like(variable, value):
    """Returns a tensor of a variable's shape, laid out like the variable on a mesh."""
    if not (scope.running() and is_on_mesh(variable)):
        return value
    return dtensor.relayout(value, variable.value.layout)


def refuse_outsiders(model, names):
    """Raises `ValueError` if there are names of variables outside the mesh."""
    if names:
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, but these variables "
            "were made outside it, and all devices would write to the same one: "
            f"{', '.join(sorted(set(names)))}. Make their layers inside `with mesh:`."
        )
