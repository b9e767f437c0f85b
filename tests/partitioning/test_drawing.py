"""Initial values in pieces, and what making a model in parts costs in memory."""

import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
from helpers_partitioning import on_devices

from keras_switch import layers
from keras_switch.partitioning import Mesh, full

LAYOUTS = (
    ("data:4,model:2", "experts:data,d_ff:model"),
    ("data:4,model:2", "d_ff:model"),
    ("data:8", "experts:data"),
    ("data:2", ""),
)
# 8 experts of 2 x 8 MiB on 8 devices, all in this process: it holds all parts. Beyond
# them it takes, for a moment, a second copy of the parts of one weight of 64 MiB, which
# TensorFlow makes when it fills a variable; drawn whole on the host, a third.
PEAK = """
import ctypes, pathlib
import keras_switch as ks, keras
from keras_switch.partitioning.variables import slots_like_weights

def status(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(key + ":")) / 1024

def made(d_ff):
    layer = ks.layers.Experts(8, d_ff)
    layer.build((None, None, 1024))
    adam = keras.optimizers.Adam()
    slots_like_weights(adam)
    adam.build(layer.trainable_variables)
    return layer, adam

with ks.Mesh("data:8", "batch:data,experts:data"):
    made(8)
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    kept = made(2048)
    print(status("VmHWM") - before, ks.explain_layout(kept[0]).bytes_per_device)
"""


def initializers():
    return [
        keras.initializers.RandomNormal(mean=1.0, stddev=0.3, seed=5),
        keras.initializers.TruncatedNormal(mean=-2.0, stddev=1.7, seed=6),
        layers.ScaledTruncatedNormal(0.1, seed=7),
        keras.initializers.Zeros(),
        keras.initializers.Ones(),
    ]


@on_devices
def check_pieces(shape, dtype):
    from keras_switch.partitioning import drawing

    for initializer in initializers():
        whole = np.asarray(initializer(shape, dtype=dtype))
        with mock.patch.object(drawing, "PIECE", 64):
            found = drawing.drawn(initializer, shape, dtype)
            assert isinstance(found, drawing.Drawing)
            np.testing.assert_array_equal(found.rows(1, 4), whole[1:5])
            for mesh, rules in LAYOUTS:
                layout = Mesh(mesh, rules).layout(("experts", None, "d_ff"), shape)
                np.testing.assert_array_equal(full(found.put(layout)), whole)


# Rows of 3 * 6 numbers begin in the middle of a step of four.
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_in_pieces_are_those_of_the_whole(dtype):
    check_pieces(shape=(8, 3, 6), dtype=dtype)


@on_devices
def test_values_that_cannot_be_drawn_in_pieces_are_drawn_whole():
    from keras_switch.partitioning import drawing

    for initializer in (
        keras.initializers.Orthogonal(seed=1),
        keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(3)),
    ):
        with mock.patch.object(drawing, "PIECE", 4):
            found = drawing.drawn(initializer, (4, 4), "float32")
        assert found.shape == (4, 4) and not isinstance(found, drawing.Drawing)
    for shape in ((), (4, 4)):
        found = drawing.drawn(initializers()[0], shape, "float32")
        assert found.shape == shape and not isinstance(found, drawing.Drawing)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_weights_and_slots_are_never_whole_on_the_host():
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    peak, of_a_device = map(float, done.stdout.split())
    weights, slots = 2 * 64, 2 * 2 * 64  # MiB of all devices
    assert of_a_device == weights * 2**20 / 8
    assert weights + slots <= peak < weights + slots + 2 * 64 - 10
