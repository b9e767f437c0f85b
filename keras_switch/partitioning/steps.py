"""What `MeshTrainer` runs: one traced step, fed with batches from the host."""

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_switch.partitioning import scope, together
from keras_switch.partitioning.traced import Traced, refuse_outsiders, refuse_xla
from keras_switch.partitioning.transfer import full
from keras_switch.partitioning.variables import adopt, is_on_mesh, slots_like_weights


def check_compile(model, options):
    """Raises `ValueError` for options of `compile` that no mesh can follow."""
    if options.get("run_eagerly"):
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, where no step can run "
            "eagerly: leave run_eagerly out, or debug the model without a mesh."
        )
    refuse_xla(model, options.get("jit_compile") is True)


def check_callbacks(model, callbacks):
    """Raises `ValueError` for callbacks of `fit` that cannot work on a mesh."""
    for callback in tree.flatten(getattr(callbacks, "callbacks", callbacks)):
        histograms = getattr(callback, "histogram_freq", 0)
        if isinstance(callback, keras.callbacks.TensorBoard) and histograms:
            raise ValueError(
                f"{model.name!r} is on the mesh {str(model.mesh)!r}, where TensorBoard "
                f"cannot draw histograms of weights (histogram_freq={histograms}): set "
                "histogram_freq=0, and write those that you need in a callback of your "
                "own, from keras_switch.partitioning.full(weight)."
            )
    together.check_files(model, callbacks)


def fit_arguments(model, method, args, kwargs):
    """Returns the arguments of `fit` for this process; those refused are errors.

    Args:
        model: with a `mesh`.
        method: the `fit` that gets them, bound.
        args: for it.
        kwargs: for it.
    """

    def checked(callbacks):
        check_callbacks(model, callbacks)
        return together.with_check(model, callbacks)

    args, kwargs = together.quiet(model, method, args, kwargs)
    return together.replaced(method, args, kwargs, "callbacks", checked)


def adopt_compiled(model):
    """Moves optimizer and metrics of `compile` onto the mesh of the model."""
    for optimizer in _with_inner(model.optimizer):
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

    def whole(output):
        return together.own_rows(model, full(output))

    def function(batches):
        outputs = [tree.map_structure(whole, run(batch)) for batch in batches]
        return tree.map_structure(
            lambda *parts: tf.constant(np.concatenate(parts)), *outputs
        )

    return function


class Step:
    """One step of a compiled model as a function traced on its mesh.

    Args:
        model: with a `mesh`.
        function: of a batch, such as `model.train_step`.
    """

    def __init__(self, model, function):
        check_compile(model, {"run_eagerly": model.run_eagerly})
        self.model = model
        self.traced = Traced(model, function)

    def __call__(self, batch):
        batch = tree.map_structure(_without_optional, batch)
        make_variables(self.model, batch)
        return self.traced(batch)


def make_variables(model, batch):
    """Makes all variables that a step needs: none can be made while it is traced."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    ready = model.optimizer is None or model.optimizer.built
    if model.built and ready and (y is None or _metrics_built(model)):
        return
    with model._on_mesh():
        _trace_symbolically(model, x, y, weights)
        for optimizer in _with_inner(model.optimizer):
            if not optimizer.built and y is not None:
                optimizer.build(model.trainable_variables)
    object.__setattr__(model, "_mesh_metrics_built", y is not None)
    if y is not None:
        adopt(model.mesh, _variables_of(model.metrics))
    owners = [model, *_with_inner(model.optimizer)]
    refuse_outsiders(
        model,
        [v.path for o in owners for v in o.variables if not is_on_mesh(v)],
    )


def build_model(model, inputs):
    """Makes the weights of a model by a call on symbols of these `TensorSpec`s."""
    with model._on_mesh():
        _trace_symbolically(model, inputs, None, None)


def build_optimizer(model, optimizer):
    """Makes the slots of an optimizer; on a mesh, where the weights of the model lie.

    Raises:
        ValueError: if a variable of the model is not on its mesh.
    """
    mesh = getattr(model, "mesh", None)
    if mesh is None:
        optimizer.build(model.trainable_variables)
        return
    for one in _with_inner(optimizer):
        adopt(mesh, one.variables)
        slots_like_weights(one)
    with model._on_mesh():
        optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    refuse_outsiders(model, [v.path for v in variables if not is_on_mesh(v)])


def on_host(metrics):
    """Returns a context in which metrics that are on a mesh compute on the host."""
    return keras.StatelessScope(
        [(v, tf.constant(full(v))) for v in _variables_of(metrics) if is_on_mesh(v)]
    )


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


def _with_inner(optimizer):
    """Returns an optimizer and the one that it wraps, as far as there are any."""
    found = [] if optimizer is None else [optimizer]
    inner = getattr(optimizer, "inner_optimizer", None)
    return found if inner is None else [*found, inner]


def _variables_of(metrics):
    return [v for metric in metrics for v in metric.variables]
