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
        tf, tensor = self._tf, self.tensors[name]
        part = "" if where is None else _part(tensor.shape, where)
        try:
            with tf.device("CPU:0"):
                (value,) = tf.raw_ops.RestoreV2(
                    prefix=self.name,
                    tensor_names=[name],
                    shape_and_slices=[part],
                    dtypes=[tf.dtypes.as_dtype(tensor.dtype)],
                )
        except tf.errors.OpError as error:
            raise self._damaged(error) from error
        return value.numpy()

    def _damaged(self, error):
        reason = str(getattr(error, "message", error)).strip().splitlines()[:1]
        return ConversionError(
            f"{self.name} is no intact checkpoint of TensorFlow ({''.join(reason)}): "
            "get it anew, all of its files."
        )


def _part(shape, where):
    """Returns shape and slices as TensorFlow writes them: `"8 4 0,2:-"`."""
    spans = [part.indices(size)[:2] for part, size in zip(where, shape, strict=True)]
    cuts = [
        "-" if (start, stop) == (0, size) else f"{start},{stop - start}"
        for (start, stop), size in zip(spans, shape, strict=True)
    ]
    return f"{' '.join(map(str, shape))} {':'.join(cuts)}"
