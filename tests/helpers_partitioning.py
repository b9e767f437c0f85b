"""Tests on eight virtual devices: run in a process of their own, started once.

Virtual devices must be made before TensorFlow runs, and would be there for all tests
of the process; and a failed operation on a mesh leaves TensorFlow unusable.
"""

import atexit
import functools
import importlib.util
import os
import pathlib
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

DEVICES = 8
_pool = []


def on_devices(test):
    """Makes a test function run where there are eight CPU devices.

    Its arguments must be plain values.
    """

    @functools.wraps(test)
    def run(**arguments):
        file = test.__code__.co_filename
        if not _pool:
            _pool.append(_start())
        try:
            failure = _pool[0].submit(_call, file, test.__name__, arguments).result()
        except BaseException:
            _stop()
            raise
        if failure:
            _stop()
            raise AssertionError(failure)

    run.here = test
    return run


def _start():
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    return ProcessPoolExecutor(1, get_context("spawn"), _make_devices, (sys.path,))


def _make_devices(path):
    sys.path[:] = path
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * DEVICES,
    )
    # Compiling a step takes a third of the time without it.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _call(file, name, arguments):
    import keras

    keras.utils.set_random_seed(0)
    try:
        getattr(_module(file), name).here(**arguments)
    except BaseException:
        return traceback.format_exc()


@functools.cache
def _module(file):
    spec = importlib.util.spec_from_file_location(pathlib.Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@atexit.register
def _stop():
    while _pool:
        _pool.pop().shutdown(cancel_futures=True)
