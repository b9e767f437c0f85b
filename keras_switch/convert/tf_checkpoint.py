"""Tensors in a checkpoint of TensorFlow, read one by one or in parts."""

import pathlib
import re

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

    Args:
        prefix: path without `.index`.

    Raises:
        ConversionError: if it is damaged.
    """

    def __init__(self, prefix):
        import tensorflow as tf

        self._tf, self.name = tf, str(prefix)
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
        from keras_switch.partitioning import files

        tf, tensor = self._tf, self.tensors[name]
        part = "" if where is None else files.spec(tensor.shape, where)
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        try:
            with tf.device("CPU:0"):
                (value,) = files.restored(self.name, name, [part], dtype)
        except tf.errors.OpError as error:
            raise self._damaged(error) from error
        return value.numpy()

    def _damaged(self, error):
        reason = str(getattr(error, "message", error)).strip().splitlines()[:1]
        return ConversionError(
            f"{self.name} is no intact checkpoint of TensorFlow ({''.join(reason)}): "
            "get it anew, all of its files."
        )
