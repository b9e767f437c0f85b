"""The devices and processes of a command, made ready before TensorFlow starts."""

from keras_switch.cli import gin_calls, gin_names
from keras_switch.cli.errors import ConfigError, Mistake
from keras_switch.cli.gin_files import Config
from keras_switch.partitioning import MeshShape, devices, environment

WITH_MESH = ("train", "eval")


def start(config: Config, command: str):
    """Makes the devices that a command needs, and connects it with other processes.

    This must be done before its arguments are made: an optimizer already uses
    TensorFlow, which then takes no more devices.

    Args:
        config: checked statements.
        command: word of the command line.

    Raises:
        ConfigError: if there is no such mesh, or several processes and no mesh.
        ValueError: if the environment is wrong.
    """
    if command not in WITH_MESH:
        return
    environment.check()
    call = next(gin_calls.calls(config, gin_names.COMMANDS[command]))
    binding = call.bindings.get("mesh_shape")
    shape = binding and gin_calls.resolved(binding.value, config)
    try:
        _start(shape)
    except ValueError as error:
        raise ConfigError([Mistake(str(error), binding and binding.place)]) from error


def _start(shape):
    several = environment.num_processes()
    if shape is not None:
        if several > 1:
            print(f"Waiting for all {several} processes to start.", flush=True)
        devices.start(MeshShape.parse(shape))
    elif several > 1:
        raise ValueError(
            f"{environment.JOBS} names {several} processes, but there is no mesh for "
            "them to share: say its shape (--mesh_shape=data:8, or a file of layouts/)."
        )
