"""T5X's own checkpoints: a msgpack tree of names, and one zarr array for each leaf.

`checkpoint_<step>/checkpoint` holds `{version, optimizer: {target, state}}`. A leaf of
`target` is the TensorStore spec of the folder beside it, or, if it is small, the array.
"""

import importlib
import json
import pathlib
import re
import zlib

import ml_dtypes
import numpy as np

from keras_switch.convert.errors import ConversionError
from keras_switch.convert.source import Source, Tensor
from keras_switch.convert.zarr_arrays import ZarrArray, can_stream

TREE = "checkpoint"
VERSION = 3
_CHUNK = 64 << 20  # bytes
_ARRAY = 1  # code of flax's extension type for arrays
_PLAIN = re.compile(r"[A-Za-z0-9_.\-]+/?")


def newest(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of the checkpoint of most steps, or `None`."""
    if _is_tree(folder / TREE):
        return folder
    found = {
        int(match[1]): path
        for path in folder.glob("checkpoint_*")
        if (match := re.fullmatch(r"checkpoint_(\d+)", path.name)) and path.is_dir()
    }
    return found[max(found)] if found else None


def _is_tree(path):
    """Returns whether a file begins as a map of msgpack, not as TensorFlow's text."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.read(1)
    return first != b"" and (first[0] >> 4 == 8 or first[0] in (0xDE, 0xDF))


class T5XCheckpoint(Source):
    """The weights in a folder `checkpoint_<step>`; optimizer states are passed over.

    Args:
        folder: the folder.

    Raises:
        ConversionError: if it is damaged, or its tree refers to other folders.
    """

    def __init__(self, folder):
        self.name, self._folder = str(folder), pathlib.Path(folder)
        self._current = None  # the leaf that was read last
        tree = _tree(self._folder / TREE)
        version = tree.get("version")
        if version != VERSION or "target" not in tree.get("optimizer", {}):
            raise ConversionError(
                f"{folder} is a T5X checkpoint of version {version!r}: version "
                f"{VERSION} is read, which T5X writes since June 2021."
            )
        self.tensors, self._leaves = {}, {}
        for name, leaf in _flat(tree["optimizer"]["target"]):
            leaf = leaf if isinstance(leaf, np.ndarray) else self._opened(name, leaf)
            dtype = leaf.dtype.name
            self._leaves[name] = leaf
            self.tensors[name] = Tensor(tuple(leaf.shape), dtype)

    def read(self, name, where=None):
        leaf = self._leaves[name]
        if leaf is not self._current and isinstance(self._current, ZarrArray):
            self._current.close()  # there are too many to leave all open
        self._current = leaf
        try:
            part = leaf[(slice(None),) * len(leaf.shape) if where is None else where]
            return part if isinstance(part, np.ndarray) else part.read().result()
        except (ValueError, OSError, EOFError, zlib.error) as error:
            raise ConversionError(
                f"{name} of {self.name} cannot be read ({error}): a chunk is "
                "damaged; get it anew."
            ) from error

    def _opened(self, name, spec):
        path = spec.get("kvstore", {}).get("path", "") if isinstance(spec, dict) else ""
        if not _PLAIN.fullmatch(path) or ".." in path:
            raise ConversionError(
                f"{name} of {self.name} refers to {path!r}, which is no folder beside "
                "the tree: refused."
            )
        folder = self._folder / path.rstrip("/")
        meta = _checked(folder, name)
        if can_stream(meta):
            return ZarrArray(folder, meta)
        store = {"driver": "file", "path": f"{folder}/"}
        try:
            return _tensorstore().open({"driver": "zarr", "kvstore": store}).result()
        except (ValueError, OSError) as error:
            raise ConversionError(
                f"{name} of {self.name} is no intact zarr array ({error}): get it anew."
            ) from error


def _checked(folder, name):
    """Returns what is said of an array, all of whose chunks are there.

    TensorStore takes missing ones for zeros.
    """
    try:
        meta = json.loads((folder / ".zarray").read_text())
        np.dtype(meta["dtype"])
        counts = [
            -(-n // c) for n, c in zip(meta["shape"], meta["chunks"], strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ConversionError(
            f"{folder} is no zarr array of version 2 ({error}), but {name} is there: "
            "a part of the checkpoint is missing; get it anew."
        ) from error
    dot = meta.get("dimension_separator", ".")
    if name.endswith("/bias"):  # may be all zeros, which TensorStore leaves out
        return meta
    for place in np.ndindex(*counts):
        chunk = folder / (dot.join(map(str, place)) or "0")
        if not chunk.is_file():
            raise ConversionError(
                f"{chunk} is missing, a part of {name}: get the checkpoint anew."
            )
    return meta


def _tree(path):
    msgpack = _msgpack()
    try:
        return msgpack.unpackb(path.read_bytes(), ext_hook=_array, strict_map_key=False)
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        msgpack.UnpackException,
    ) as error:
        raise ConversionError(
            f"{path} is no tree of a T5X checkpoint ({error!r}): get it anew."
        ) from error


def _array(code, data):
    if code != _ARRAY:
        raise ValueError(f"extension type {code} is unknown")
    shape, dtype, values = _msgpack().unpackb(data, strict_map_key=False)
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    return np.frombuffer(values, dtype).reshape(shape)


def _flat(tree, prefix=""):
    """Yields name and leaf of a tree; a TensorStore spec is a leaf."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and "driver" not in value:
            yield from _flat(value, f"{name}/")
        else:
            yield name, value


def write(tensors, folder: pathlib.Path, step: int, progress=None):
    """Writes a checkpoint without optimizer states.

    Args:
        tensors: names and arrays.
        folder: its folder, empty.
        step: number of the training step.
        progress: function of the bytes and the name of each tensor.
    """
    tree = {}
    for name, value in tensors:
        path = f"target.{name.replace('/', '.')}/"
        meta = {
            "shape": list(value.shape),
            "chunks": _chunks(value),
            "compressor": {"id": "gzip", "level": 1},
        }
        spec = {"driver": "zarr", "metadata": meta}
        store = {"driver": "file", "path": f"{folder / path}"}
        # Zeros are written too: a chunk that is not there looks like a damage.
        options = {"create": True, "store_data_equal_to_fill_value": True}
        opened = _tensorstore().open(
            {**spec, **options, "kvstore": store}, dtype=value.dtype.name
        )
        array, rows = opened.result(), meta["chunks"][0]
        for at in range(0, len(value), rows):  # the array is not there twice
            part = slice(at, min(at + rows, len(value)))
            array[part].write(value[part]).result()
        leaf = tree
        *parents, last = name.split("/")
        for parent in parents:
            leaf = leaf.setdefault(parent, {})
        kvstore = {"driver": "file", "path": path}
        leaf[last] = {**spec, "dtype": value.dtype.name, "kvstore": kvstore}
        if progress is not None:
            progress(value.nbytes, name)
    step = np.asarray(step, "int32")
    state = {"step": _packed(step), "param_states": {}}
    tree = {"version": VERSION, "optimizer": {"target": tree, "state": state}}
    (folder / TREE).write_bytes(_msgpack().packb(tree))


def _chunks(value):
    """Returns the shape of chunks: some rows, no larger than T5X's."""
    rows, *rest = value.shape
    return [max(1, min(rows, _CHUNK * rows // max(1, value.nbytes))), *rest]


def _packed(value):
    """Returns an array as flax's extension type."""
    msgpack = _msgpack()
    data = (value.shape, value.dtype.name, value.tobytes())
    return msgpack.ExtType(_ARRAY, msgpack.packb(data))


def _tensorstore():
    return _imported("tensorstore")


def _msgpack():
    return _imported("msgpack")


def _imported(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"T5X's checkpoints need the {name} package: pip install "
            "keras-switch[convert]"
        ) from error
