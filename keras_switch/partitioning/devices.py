"""Finding the devices of a mesh, or making virtual ones, on one machine or on many."""

import contextlib
import os

import tensorflow as tf
from tensorflow.experimental import dtensor

from keras_switch.partitioning import environment

# TensorFlow's pass that joins all-reduces moves variable updates behind later reads of
# the same variable: Adam would apply the moments of the step before. It reads this when
# a function is compiled. docs/upstream/all_reduce_combiner.md has the whole story.
COMBINER = "DTENSOR_ENABLE_COMBINE_ALL_REDUCES_OPTIMIZATION"
KINDS = ("CPU", "GPU", "TPU")


def forbid_combiner():
    """Turns the pass off that makes updates of variables wrong."""
    os.environ[COMBINER] = "0"


@contextlib.contextmanager
def quickly_compiled():
    """Leaves graph optimization out of functions that run first while it lasts.

    TensorFlow optimizes a function for every device on its own, which takes more than
    half of the time of a first step and makes later ones no faster
    (`benchmarks/mesh.py`): DTensor has simplified the graph before.
    """
    known, name = tf.config.optimizer, "disable_meta_optimizer"
    before = known.get_experimental_options().get(name, False)
    known.set_experimental_options({name: True})
    try:
        yield
    finally:
        known.set_experimental_options({name: before})


def create(shape, device_type=None, devices=None):
    """Returns a `dtensor.Mesh` of this `MeshShape`.

    With `DTENSOR_JOBS` in the environment every process brings its share of the
    devices; without, all are here.

    Args:
        shape: `MeshShape`.
        device_type: `"CPU"`, `"GPU"` or `"TPU"`; `None`: TPU or GPU where there is one.
        devices: names such as `"CPU:3"`, in the order of the mesh; `None`: the first.

    Raises:
        ValueError: if there are too few devices, or the kind is unknown.
    """
    kind = start(shape, device_type, devices)
    axes = list(shape.axes)
    if kind == "TPU":
        return dtensor.create_distributed_mesh(axes, device_type=kind)
    several = environment.num_processes()
    names = _names(shape.num_devices // several, kind, devices)
    if several == 1:
        return dtensor.create_mesh(axes, devices=names)
    return dtensor.create_distributed_mesh(axes, local_devices=names, device_type=kind)


def start(shape, device_type=None, devices=None):
    """Makes virtual devices, connects the processes, starts TPUs: what a mesh needs.

    Making a mesh does this by itself. A program calls it earlier if it uses TensorFlow
    before it makes the mesh, since TensorFlow takes devices and connections only
    before. With `DTENSOR_JOBS` in the environment (see `environment.py`) it returns
    when all processes are there.

    Args:
        shape: `MeshShape` of the mesh.
        device_type: see `create`.
        devices: see `create`.

    Returns:
        The type of the devices.

    Raises:
        ValueError: if the environment is wrong, or the processes cannot share the mesh.
    """
    environment.check()
    kind = _kind(device_type, devices)
    several = environment.num_processes()
    each, rest = divmod(shape.num_devices, several)
    if rest:
        raise ValueError(
            f"The mesh {str(shape)!r} has {shape.num_devices} devices, which "
            f"{several} processes cannot share evenly: take a mesh whose number of "
            f"devices is a multiple of {several}."
        )
    if kind == "CPU" and devices is None:
        _make_virtual(environment.virtual_devices() or each)
    if kind == "TPU" or several > 1:
        _initialize(kind)
    return kind


def _kind(device_type, devices):
    kind = device_type or (devices[0].split(":")[0] if devices else None)
    if kind is None and environment.virtual_devices():
        kind = "CPU"
    if kind is None:
        kind = next(k for k in ("TPU", "GPU", "CPU") if _physical(k))
    if kind.upper() not in KINDS:
        raise ValueError(
            f"There are no devices of type {kind!r}: use one of {', '.join(KINDS)}."
        )
    return kind.upper()


def _physical(kind):
    return tf.config.list_physical_devices(kind)


def _names(needed, kind, devices):
    """Returns the names of as many devices as are needed."""
    there = [f"{kind}:{i}" for i in range(len(tf.config.list_logical_devices(kind)))]
    names = there[:needed] if devices is None else list(devices)
    strange = [name for name in names if name.upper() not in there]
    if len(names) == needed and not strange:
        return names
    raise ValueError(
        f"The mesh needs {needed} {kind} devices, but "
        + (f"{strange} are not there: " if strange else f"got {len(names)}: ")
        + f"TensorFlow has {len(there)}. {_fix(needed, kind)}"
    )


def _fix(needed, kind):
    if kind != "CPU":
        return f"Take a mesh of fewer devices, or a machine with {needed}."
    return (
        "Make the mesh before anything else uses TensorFlow: it then makes virtual "
        f"CPU devices by itself. Or call keras_switch.partitioning.virtual_cpus("
        f"{needed}) at the start of the program, or take a smaller mesh."
    )


def virtual_cpus(number):
    """Makes TensorFlow see this many CPU devices, for meshes on one machine.

    Raises:
        ValueError: if TensorFlow runs already, with another number of them.
    """
    devices = [tf.config.LogicalDeviceConfiguration() for _ in range(number)]
    try:
        tf.config.set_logical_device_configuration(_physical("CPU")[0], devices)
    except RuntimeError as error:
        there = len(tf.config.list_logical_devices("CPU"))
        if there != number:
            raise ValueError(
                f"TensorFlow runs already, with {there} CPU devices, so that there "
                f"cannot be {number}: call virtual_cpus, or make the mesh, before "
                "anything else uses TensorFlow."
            ) from error


def _make_virtual(number):
    """Makes virtual CPU devices if TensorFlow does not run yet and none are made."""
    made = tf.config.get_logical_device_configuration(_physical("CPU")[0])
    if made is None and number > 1:
        try:
            virtual_cpus(number)
        except ValueError:
            return  # `_names` says what is missing


_initialized = []


def _initialize(kind):
    """Connects the processes, or starts the TPU system; once."""
    if _initialized:
        return
    try:
        dtensor.initialize_accelerator_system(kind)
    except ValueError as error:
        raise ValueError(
            f"TensorFlow runs already, and cannot be connected any more ({error}): "
            "make the mesh, or call keras_switch.partitioning.devices.start, before "
            "anything else uses TensorFlow."
        ) from error
    _initialized.append(kind)
