"""Tensors in a `pytorch_model.bin`, read without PyTorch and without running anything.

The file is a zip archive: `data.pkl` says which tensors there are, and every storage is
a member of its own, not compressed. A pickle is a program; this reader knows the few
words that a dictionary of tensors is made of and refuses every other, so that no code
of the file ever runs. The bytes of a tensor are mapped, not loaded.
"""

import collections
import math
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.source import Source, Tensor

SINGLE = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"
_DTYPES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "BoolStorage": np.bool_,
}
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"


class TorchFiles(Source):
    """Tensors of one or more files.

    Args:
        files: the files.
        name: for messages.

    Raises:
        ConversionError: if a file is damaged, or is more than a dictionary of tensors.
    """

    def __init__(self, files, name):
        self.name, self.tensors, self._arrays = name, {}, {}
        for path in files:
            for key, array in _tensors(pathlib.Path(path)).items():
                self.tensors[key] = Tensor(array.shape, array.dtype.name)
                self._arrays[key] = array

    def read(self, name, where=None):
        array = self._arrays[name]
        return np.array(array if where is None else array[where])


def _tensors(path):
    with path.open("rb") as file:
        if file.read(len(_LEGACY)) == _LEGACY:
            raise ConversionError(
                f"{path} is of PyTorch before 1.6: load and save it with a newer one, "
                "or take the safetensors file of the same model."
            )
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            prefix = name.removesuffix("data.pkl")
            storages = _Storages(path, archive, prefix)
            with archive.open(name) as program:
                found = _Reader(program, storages).load()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError) as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError(
            f"{path} is no intact file of PyTorch ({error}): get it anew."
        ) from error
    except (pickle.UnpicklingError, TypeError, AttributeError, IndexError) as error:
        raise ConversionError(f"{path} was refused: {error}") from error
    arrays = isinstance(found, dict) and all(
        isinstance(k, str) and isinstance(v, np.ndarray) for k, v in found.items()
    )
    if not arrays:
        raise ConversionError(
            f"{path} holds more than tensors by name: give the file of a state_dict."
        )
    return found


class _Storages:
    """The members of an archive, mapped as flat arrays."""

    def __init__(self, path, archive, prefix):
        self._path, self._archive, self._prefix = path, archive, prefix
        self._map = np.memmap(path, mode="r")

    def __call__(self, dtype, key, size):
        info = self._archive.getinfo(f"{self._prefix}data/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ConversionError(f"{self._path}: storage {key} is compressed: refused")
        header = self._map[info.header_offset : info.header_offset + 30]
        name, extra = np.frombuffer(header[26:30].tobytes(), "<u2")
        start = info.header_offset + 30 + int(name) + int(extra)
        bytes_ = size * np.dtype(dtype).itemsize
        if bytes_ > info.file_size or start + bytes_ > len(self._map):
            raise ConversionError(
                f"{self._path}: storage {key} has {info.file_size} bytes, but its "
                f"tensors need {bytes_}: the file is cut off or was changed"
            )
        return self._map[start : start + bytes_].view(dtype)


class _Reader(pickle.Unpickler):
    """Knows how to make dictionaries of arrays, and nothing else."""

    def __init__(self, file, storages):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(
            f"it wants to use {module}.{name}, which no dictionary of tensors needs. "
            "It may be an attack; take the safetensors file of the same model"
        )

    def persistent_load(self, pid):
        kind, dtype, key, _, size = pid
        if kind != "storage" or not str(key).isalnum():
            raise pickle.UnpicklingError(f"it refers to {pid!r}")
        return self._storages(dtype, key, int(size))


def _tensor(storage, offset, shape, strides, *_):
    """Returns a view of a storage, once its bounds are checked."""
    shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
    if min((offset, *shape, *strides)) < 0 or len(shape) != len(strides):
        raise ValueError(f"a tensor has offset {offset}, shape {shape}, {strides}")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(storage):
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage")
    size = storage.dtype.itemsize
    return np.lib.stride_tricks.as_strided(
        storage[offset:], shape, [step * size for step in strides], writeable=False
    )


def _parameter(array, *_):
    return array
