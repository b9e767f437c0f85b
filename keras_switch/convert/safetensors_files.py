"""Tensors in `.safetensors` files: one file or several with an index, read and written.

Reading is left to the `safetensors` package, which checks the header before anything
else and maps the file, so that a part of a tensor costs no more than its bytes. Writing
is done here, because the package wants all tensors of a file in memory at once.
"""

import json
import math
import pathlib

import numpy as np

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.source import Source, Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
}
_NAMES = {code: name for name, code in _DTYPES.items()}


class SafetensorsFiles(Source):
    """Tensors of one or more files.

    Args:
        files: the files.
        name: for messages.
    """

    def __init__(self, files, name):
        self.name, self.tensors, self._files = name, {}, {}
        for path in files:
            file = _opened(pathlib.Path(path))
            for key in file.keys():  # noqa: SIM118
                part = file.get_slice(key)
                code = part.get_dtype()
                dtype = _NAMES.get(code, code)
                self.tensors[key] = Tensor(tuple(part.get_shape()), dtype)
                self._files[key] = file

    def read(self, name, where=None):
        if where is None:
            return self._files[name].get_tensor(name)
        return self._files[name].get_slice(name)[where]


def _opened(path):
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs the safetensors package: "
            "pip install keras-switch[convert]"
        ) from error
    with path.open("rb") as file:
        if _is_pickle(file.read(9)):
            raise ConversionError(
                f"{path} is a pickle under the name of a safetensors file: refused. "
                "Name it pytorch_model.bin if you trust where it is from; it is then "
                "read without running any code in it."
            )
    try:
        return safe_open(path, framework="np")
    except (SafetensorError, OSError) as error:
        raise ConversionError(
            f"{path} is no intact safetensors file ({error}): get it anew."
        ) from error


def _is_pickle(head):
    """Returns whether a file begins as a pickle, or as an archive that may hold one.

    The length of a header, with which safetensors begin, may be the same two bytes; but
    its ninth byte is a brace.
    """
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return (is_pickle or head[:2] == b"PK") and head[8:] != b"{"


def check_index(index: dict, source: Source):
    """Raises `ConversionError` if files lack tensors that their index lists."""
    missing = sorted(set(index) - set(source.tensors))
    if missing:
        raise ConversionError(
            f"The index of {source.name} names tensors that its files do not hold: "
            f"{', '.join(missing)}."
        )


def shards(index_file: pathlib.Path) -> tuple[list[str], dict]:
    """Returns the names of the files that an index lists, and the file of each tensor.

    Raises:
        ConversionError: if it is no index, or names a file outside its own folder.
    """
    try:
        index = json.loads(index_file.read_text())["weight_map"]
        names = sorted(set(index.values()))
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a file has no name")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(
            f"{index_file} is no index of tensors ({error!r}): get it anew."
        ) from error
    for name in names:
        if name != pathlib.PurePath(name).name or name.startswith(".") or "\\" in name:
            raise ConversionError(
                f"{index_file} names the file {name!r}, which is not in its own "
                "folder: refused."
            )
    return names, index


def write(tensors, folder: pathlib.Path, shapes: dict, max_bytes: int, progress=None):
    """Writes tensors one by one, into one file or, above `max_bytes`, into several.

    Args:
        tensors: names and arrays, in the order of `shapes`.
        folder: where to write.
        shapes: `Tensor` of each name.
        max_bytes: of a file; a larger tensor has a file of its own.
        progress: function of the bytes and the name of each tensor.
    """
    groups = _groups(shapes, max_bytes)
    tensors, index = iter(tensors), {}
    for number, group in enumerate(groups, 1):
        name = SINGLE
        if len(groups) > 1:
            name = f"model-{number:05}-of-{len(groups):05}.safetensors"
        _write_file(folder / name, group, shapes, tensors, progress)
        index |= dict.fromkeys(group, name)
    if len(groups) > 1:
        total = sum(_size(tensor) for tensor in shapes.values())
        text = {"metadata": {"total_size": total}, "weight_map": index}
        (folder / INDEX).write_text(json.dumps(text, indent=2) + "\n")


def _groups(shapes, max_bytes):
    groups, room = [[]], max_bytes
    for name, tensor in shapes.items():
        if groups[-1] and _size(tensor) > room:
            groups.append([])
            room = max_bytes
        groups[-1].append(name)
        room -= _size(tensor)
    return groups


def _write_file(path, names, shapes, tensors, progress):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        tensor = shapes[name]
        end = at + _size(tensor)
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            found, value = next(tensors)
            given = found, value.shape, value.dtype.name
            assert given == (name, shapes[name].shape, shapes[name].dtype), given
            file.write(np.ascontiguousarray(value).view("uint8").data)
            if progress is not None:
                progress(value.nbytes, name)


def _size(tensor):
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
