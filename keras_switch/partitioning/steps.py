"""What `MeshTrainer` runs: one traced step, fed with batches from the host."""

import keras
import numpy as np
import tensorflow as tf
from keras import tree
from tensorflow.experimental import dtensor

from keras_switch.partitioning import scope
from keras_switch.partitioning.transfer import full, pack_local, put
from keras_switch.partitioning.variables import (
    MeshVariable,
    adopt,
    is_on_mesh,
    slots_like_weights,
)


def check_compile(model, options):
    """Raises `ValueError` for options of `compile` that no mesh can follow."""
    if options.get("run_eagerly"):
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, where no step can run "
            "eagerly: leave run_eagerly out, or debug the model without a mesh."
        )
    if options.get("jit_compile") is True:
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, where steps are not "
            "compiled by XLA: leave jit_compile out."
        )


def adopt_compiled(model):
    """Moves optimizer and metrics of `compile` onto the mesh of the model."""
    for optimizer in _optimizers(model):
        adopt(model.mesh, optimizer.variables)
        slots_like_weights(optimizer)
    adopt(model.mesh, _variables_of(model.metrics))


def on_iterator(model, step):
    """Returns a train or test function for `model`: an iterator in, logs out."""
    run = Step(model, step)

    def function(iterator):
        iterator, logs = iter(iterator), None
        for _ in range(model.steps_per_execution):
            try:
                batch = next(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                if logs is None:
                    raise StopIteration from None
                break
            logs = run(batch)
        return logs

    return function


def on_batches(model, step):
    """Returns a predict function for `model`: batches in, host tensors out."""
    run = Step(model, step)

    def function(batches):
        outputs = [tree.map_structure(full, run(batch)) for batch in batches]
        return tree.map_structure(
            lambda *parts: tf.constant(np.concatenate(parts)), *outputs
        )

    return function


class Step:
    """One step of a model as a function traced on its mesh.

    Args:
        model: with a `mesh`.
        function: of a batch, such as `model.train_step`.
    """

    def __init__(self, model, function):
        check_compile(model, {"run_eagerly": model.run_eagerly})
        self.model = model
        # Layouts need sizes: every shape of batch has a trace of its own.
        self.traced = tf.function(function, autograph=False)
        self.checked = set()

    def __call__(self, batch):
        mesh = self.model.mesh
        batch = tree.map_structure(_without_optional, batch)
        make_variables(self.model, batch)
        with mesh.running():
            data = tree.map_structure(lambda x: split(mesh, x), batch)
            self._check(data)
            return self.traced(data)

    def _check(self, data):
        """Raises `ValueError` if the trace of a batch uses a variable off the mesh."""
        key = tuple(None if x is None else x.shape for x in tree.flatten(data))
        if key in self.checked:
            return
        used = self.traced.get_concrete_function(data).graph.variables
        refuse_outsiders(
            self.model, [v.name for v in used if not isinstance(v, MeshVariable)]
        )
        self.checked.add(key)


def split(mesh, value):
    """Returns a host array as a DTensor, its first axis split as the rules say.

    Raises:
        ValueError: if it is ragged or sparse.
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
    clients = dtensor.num_clients()
    if clients == 1 or not names:
        return put(value, mesh.layout(names, value.shape))
    shape = (value.shape[0] * clients, *value.shape[1:])
    return pack_local(value, mesh.layout(names, shape))


def make_variables(model, batch):
    """Makes all variables that a step needs: none can be made while it is traced."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    ready = model.optimizer is None or model.optimizer.built
    if model.built and ready and (y is None or _metrics_built(model)):
        return
    with model._on_mesh():
        _trace_symbolically(model, x, y, weights)
        for optimizer in _optimizers(model):
            if not optimizer.built and y is not None:
                optimizer.build(model.trainable_variables)
    object.__setattr__(model, "_mesh_metrics_built", y is not None)
    if y is not None:
        adopt(model.mesh, _variables_of(model.metrics))
    owners = [model, *_optimizers(model)]
    refuse_outsiders(
        model,
        [v.path for o in owners for v in o.variables if not is_on_mesh(v)],
    )


def refuse_outsiders(model, names):
    """Raises `ValueError` if there are names of variables outside the mesh."""
    if names:
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, but these variables "
            "were made outside it, and all devices would write to the same one: "
            f"{', '.join(sorted(set(names)))}. Make their layers inside `with mesh:`."
        )


def host_values(metrics):
    """Returns `(variable, value)` of metrics, the values on the host."""
    return [(v, tf.constant(full(v))) for v in _variables_of(metrics)]


def _trace_symbolically(model, x, y, weights):
    """Calls model, loss and metrics on symbols, so that all make their variables."""

    def spec(value):
        return tf.TensorSpec(tuple(value.shape), _dtype(value))

    def call(x, y, weights):
        prediction = model(x, training=False) if _has_training(model) else model(x)
        if y is not None and model.compiled:
            model.compute_loss(x, y, prediction, weights, training=False)
            model.compute_metrics(x, y, prediction, sample_weight=weights)
        return ()

    symbols = [
        None if part is None else tree.map_structure(spec, part)
        for part in (x, y, weights)
    ]
    # Variables asked for in a stateless scope are made when it ends.
    with scope.set_to(exporting=True), keras.StatelessScope():
        tf.function(call, autograph=False).get_concrete_function(*symbols)


def _has_training(model):
    return model._call_has_training_arg


def _metrics_built(model):
    return getattr(model, "_mesh_metrics_built", False)


def _without_optional(value):
    return None if isinstance(value, tf.experimental.Optional) else value


def _dtype(value):
    dtype = getattr(value, "dtype", None)
    return tf.as_dtype(dtype if dtype is not None else np.asarray(value).dtype)


def _optimizers(model):
    optimizer = model.optimizer
    found = [] if optimizer is None else [optimizer]
    inner = getattr(optimizer, "inner_optimizer", None)
    return found if inner is None else [*found, inner]


def _variables_of(metrics):
    return [v for metric in metrics for v in metric.variables]
