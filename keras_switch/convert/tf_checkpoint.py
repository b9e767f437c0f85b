"""Tensors in a checkpoint of TensorFlow, read one by one or in parts."""

import pathlib
import re

import numpy as np

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.source import Source, Tensor


def newest(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the prefix of the checkpoint of most steps in a folder, or `None`."""
    found = {
        int(match[1]): path.with_suffix("")
        for path in folder.glob("*.index")
        if (match := re.search(r"-(\d+)\.index$", path.name))
    }
    return found[max(found)] if found else None


class TensorFlowCheckpoint(Source):
    """A checkpoint as `tf.train.Saver` writes it.

    TensorFlow reads and checks a tensor whole, whatever part of it is wanted.

    Args:
        prefix: path without `.index`.

    Raises:
        ConversionError: if it is damaged.
    """

    divisible = False

    def __init__(self, prefix):
        import tensorflow as tf

        self._tf, self.name, self._last = tf, str(prefix), (None, None)
        try:
            reader = tf.train.load_checkpoint(self.name)
            shapes = reader.get_variable_to_shape_map()
            dtypes = reader.get_variable_to_dtype_map()
        except (tf.errors.OpError, ValueError, RuntimeError) as error:
            raise self._damaged(error) from error
        self.tensors = {
            name: Tensor(tuple(shape), dtypes[name].name)
            for name, shape in shapes.items()
        }

    def read(self, name, where=None):
        shape = self.tensors[name].shape
        spans = [] if where is None else zip(where, shape, strict=True)
        if all(part.indices(size)[:2] == (0, size) for part, size in spans):
            return self._restored(name)
        if self._last[0] != name:  # devices of a mesh ask for one part after another
            self._last = None, None
            self._last = name, self._restored(name)
        return self._last[1][where]

    def _restored(self, name):
        from keras_switch.partitioning import files

        tf = self._tf
        dtype = tf.dtypes.as_dtype(self.tensors[name].dtype)
        try:
            with tf.device("CPU:0"):
                (value,) = files.restored(self.name, name, [""], dtype)
        except tf.errors.OpError as error:
            raise self._damaged(error) from error
        return np.asarray(value)

    def _damaged(self, error):
        reason = str(getattr(error, "message", error))
        reason = re.sub(r"{{.*?}}|\[Op:.*?\]", "", reason).strip().splitlines()[:1]
        return ConversionError(
            f"{self.name} is no intact checkpoint of TensorFlow ({''.join(reason)}): "
            "get it anew, all of its files."
        )
