"""Reading needs no more memory than the model and one tensor, whatever the format."""

import functools

import helpers_checkpoints as checkpoints
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers_memory import on_linux, peak

from keras_switch.convert import engine, memory, safetensors_files, t5x_files
from keras_switch.convert.placing import put, whole
from keras_switch.convert.safetensors_files import SafetensorsFiles
from keras_switch.convert.source import Tensor
from keras_switch.convert.t5x_files import T5XCheckpoint
from keras_switch.convert.table import Row, Table
from keras_switch.convert.tf_checkpoint import TensorFlowCheckpoint
from keras_switch.convert.torch_files import TorchFiles

SHAPE = (8192, 1024)
SIZE = 4 * 8192 * 1024


@functools.cache
def value():
    return np.random.default_rng(0).integers(0, 9, SHAPE).astype("float32")


def safetensors(folder):
    shapes = {"w": Tensor(SHAPE, "float32")}
    safetensors_files.write([("w", value())], folder, shapes, 2 * SIZE)
    return SafetensorsFiles([folder / "model.safetensors"], "here")


def torch(folder):
    checkpoints.torch_file(folder / "x.bin", {"w": value()})
    return TorchFiles([folder / "x.bin"], "here")


def t5x(folder):
    t5x_files.write([("w", value())], folder, 0)
    return T5XCheckpoint(folder)


def mesh_tensorflow(folder, dtype="float32"):
    tf.raw_ops.SaveV2(
        prefix=str(folder / "x-1"),
        tensor_names=["w"],
        shape_and_slices=[""],
        tensors=[tf.constant(value(), dtype)],
    )
    return TensorFlowCheckpoint(folder / "x-1")


def mesh_tensorflow_halves(folder):
    return mesh_tensorflow(folder, "bfloat16")


@on_linux
@pytest.mark.parametrize(
    ("written", "transposed", "tensors"),
    [
        (safetensors, False, 0.5),
        (safetensors, True, 0.5),
        (torch, False, 0.5),
        (torch, True, 0.5),
        (t5x, False, 0.5),
        (mesh_tensorflow, False, 1.2),
        (mesh_tensorflow_halves, False, 0.7),
    ],
    ids=lambda case: getattr(case, "__name__", case),
)
def test_a_weight_is_never_there_twice(written, transposed, tensors, tmp_path):
    shape = SHAPE[::-1] if transposed else SHAPE
    weight = keras.Variable(np.ones(shape, "float32"), name="ours")
    source, table = written(tmp_path), Table("test", (Row("ours", "w", transposed),))
    load = functools.partial(engine.load, [weight], source, table)
    above = peak(load) / SIZE
    assert above < tensors
    wanted = value().T if transposed else value()
    np.testing.assert_array_equal(whole(weight), wanted)


@pytest.mark.parametrize("shape", [(3, 5), (2, 0)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tensor_is_filled_where_it_is(dtype, shape):
    found = memory.filled(shape, dtype, lambda array: array.fill(2))
    assert found.dtype.name == dtype and tuple(found.shape) == shape
    np.testing.assert_array_equal(np.asarray(found), np.full(shape, 2))


def test_what_is_put_into_two_weights_is_trained_apart():
    one, two = (keras.Variable(np.zeros((2, 2), "float32")) for _ in range(2))
    put(one, lambda where, array: array.fill(2))
    seen = whole(one)
    put(two, lambda where, array: np.copyto(array, seen))
    one.assign_add(np.ones((2, 2), "float32"))
    np.testing.assert_array_equal(one, np.full((2, 2), 3))
    np.testing.assert_array_equal(two, np.full((2, 2), 2))
    np.testing.assert_array_equal(seen, np.full((2, 2), 2))
    with pytest.raises(ValueError, match="read-only"):
        seen[0, 0] = 1


@on_linux
@pytest.mark.parametrize(("transposed", "tensors"), [(False, 0.5), (True, 1.2)])
def test_writing_needs_no_more_than_one_tensor(transposed, tensors, tmp_path):
    weight = keras.Variable(value(), name="ours")
    table = Table("test", (Row("ours", "w", transposed),))
    shape = SHAPE[::-1] if transposed else SHAPE
    given = {"w": Tensor(shape, "float32")}

    def write():
        found = engine.dump([weight], table)
        safetensors_files.write(found, tmp_path, given, 2 * SIZE)

    assert peak(write) < tensors * SIZE
