"""The devices and processes of a command, made ready before TensorFlow starts."""

import contextlib

from keras_switch.cli import gin_calls, gin_names
from keras_switch.cli.errors import ConfigError, Mistake
from keras_switch.cli.gin_files import Config
from keras_switch.cli.meshes import PlacementConfig
from keras_switch.partitioning import MeshShape, devices, environment

WITH_MESH = ("train", "finetune", "distill", "eval", "cache-logits")
# What one process does alone.
ALONE = ("cache-logits",)


def start(config: Config, command: str):
    """Makes the devices that a command needs, and connects it with other processes.

    This must be done before its arguments are made: an optimizer already uses
    TensorFlow, which then takes no more devices.

    Args:
        config: checked statements.
        command: word of the command line.

    Raises:
        ConfigError: if there is no such mesh, or several processes that cannot share
            the command.
        ValueError: if the environment is wrong.
    """
    if command not in WITH_MESH:
        return
    environment.check()
    meshes = [*_meshes(config, gin_names.COMMANDS[command])]
    several = environment.num_processes()
    if several > 1:
        _check_shared(command, several, meshes)
        print(f"Waiting for all {several} processes to start.", flush=True)
    shapes = [(shape, place) for shape, place in meshes if shape is not None]
    for shape, place in sorted(shapes, key=lambda x: -x[0].num_devices):
        with _placed(place):
            devices.start(shape)


def _meshes(config, command):
    """Yields the meshes that a command is told, its model's first, with places."""
    for call in gin_calls.calls(config, command):
        binding = call.bindings.get("mesh_shape")
        if call.thing is PlacementConfig and binding:
            text = gin_calls.resolved(binding.value, config)
            with _placed(binding.place):
                yield text and MeshShape.parse(text), binding.place


@contextlib.contextmanager
def _placed(place):
    """Tells where the mesh is set that an error is about."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([Mistake(str(error), place)]) from error


def _check_shared(command, several, meshes):
    shape, place = meshes[0] if meshes else (None, None)
    told = f"{environment.JOBS} names {several} processes, but"
    if command in ALONE:
        message = f"{told} one alone does `{command}`: start one."
        raise ConfigError([Mistake(message)])
    if shape is None:
        message = (
            f"{told} there is no mesh for them to share: say its shape "
            "(--mesh_shape=data:8, or a file of layouts/)."
        )
        raise ConfigError([Mistake(message, place)])
