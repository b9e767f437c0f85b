"""From tensors by name to the weights of a model, and back: one way for all formats."""

import dataclasses
import zlib

import numpy as np
from keras import backend

from keras_switch.convert.errors import ConversionError, refuse
from keras_switch.convert.placing import parts, put, whole
from keras_switch.convert.table import Match, Table, num_bytes

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_ROWS = 1 << 20  # elements compared at a time


@dataclasses.dataclass(frozen=True)
class Report:
    """What a load did.

    Args:
        source: what was read.
        bytes: bytes of the model's weights.
        checksums: by path of each weight, the CRC-32 of each expert; of a weight
            without experts one. Of a weight that a mesh splits, those of its parts.
    """

    source: str
    bytes: int
    checksums: dict[str, tuple[int, ...]]

    def __str__(self):
        experts = sum(len(sums) for sums in self.checksums.values() if len(sums) > 1)
        return (
            f"{len(self.checksums)} weights ({self.bytes / 1e6:,.1f} MB) from "
            f"{self.source}; {experts} kernels of experts, each checked by its sum"
        )


def plan(weights, source, table: Table) -> list[Match]:
    """Returns where each weight is found, after all names and shapes were compared.

    Args:
        weights: `models.WeightCount`s, or anything with path, shape and dims.
        source: `Source`.
        table: names of its format.

    Raises:
        ConversionError: naming every tensor that is missing, left over, or of another
            shape.
    """
    weights = list(weights)
    matches = [table.match(weight) for weight in weights]
    refuse(
        f"{source.name} does not fit this model ({table.format})",
        _mistakes(weights, matches, source, table),
    )
    return matches


def _mistakes(weights, matches, source, table):
    used = set()
    for weight, match in zip(weights, matches, strict=True):
        if match is None:
            yield f"{weight.path}: {table.format} has no name for this weight"
            continue
        used.update(match.names)
        for name in match.names:
            yield from _tensor_mistakes(name, match, source)
    for original, names in table.copies.items():
        if original in used:
            for name in set(names) & set(source.tensors):
                used.add(name)
                if original in source.tensors:
                    yield from _copy_mistakes(original, name, source)
    for name in source.tensors:
        if name not in used and not table.ignores(name):
            yield f"{name}: left over, no weight of the model takes it"


def _tensor_mistakes(name, match, source):
    tensor, needed = source.tensors.get(name), match.tensor_shape()
    path = match.weight.path
    if tensor is None:
        yield f"{name}: missing, {path} needs it"
        return
    fits = len(tensor.shape) == len(needed) and all(
        size in (None, found) for size, found in zip(needed, tensor.shape, strict=True)
    )
    if not fits:
        yield f"{name}: of shape {tensor.shape}, but {path} needs {needed}"
    elif match.layer is not None and match.layer >= tensor.shape[match.layer_axis]:
        blocks = tensor.shape[match.layer_axis]
        yield f"{name}: stacks {blocks} blocks, but {path} is number {match.layer}"
    if tensor.dtype not in _FLOATS:
        yield f"{name}: holds {tensor.dtype}, not floating point numbers"


def _copy_mistakes(original, name, source):
    """Compares two tensors that must be equal, a few rows at a time."""
    a, b = source.tensors[original], source.tensors[name]
    equal = a.shape == b.shape
    step = max(1, _ROWS // max(1, a.shape[-1] if a.shape else 1))
    for start in range(0, a.shape[0] if equal else 0, step):
        stop = min(start + step, a.shape[0])
        where = (slice(start, stop), *(slice(None) for _ in a.shape[1:]))
        equal = equal and np.array_equal(
            source.read(original, where), source.read(name, where)
        )
    if not equal:
        yield f"{name}: differs from {original}, but the model has one table for both"


def load(variables, source, table: Table, progress=None) -> Report:
    """Fills the weights of a model, one at a time, and checks what arrived.

    Nothing is touched before every name and shape was compared. If reading fails half
    way, the model must be thrown away.

    Args:
        variables: Keras variables with `path`, `shape` and `dims`.
        source: `Source`.
        table: names of its format.
        progress: function of the bytes and the path of each weight that is done.

    Raises:
        ConversionError: if anything is missing, left over, or arrives changed.
    """
    variables = list(variables)
    matches = plan(map(described, variables), source, table)
    return fill(variables, matches, source, progress)


def fill(variables, matches, source, progress=None) -> Report:
    """Fills the weights of a model as it was planned; see `load`.

    Args:
        variables: Keras variables.
        matches: what `plan` returned for weights of the same paths and shapes.
        source: `Source`.
        progress: see `load`.
    """
    matches = {match.weight.path: match for match in matches}
    total, checksums = 0, {}
    for variable in variables:
        match = matches[variable.path]
        checksums[variable.path] = _fill(variable, match, source)
        size = size_of(variable)
        total += size
        if progress is not None:
            progress(size, variable.path)
    return Report(source.name, total, checksums)


@dataclasses.dataclass(frozen=True)
class _Described:
    path: str
    shape: tuple[int, ...]
    dims: tuple[str | None, ...]


def described(variable):
    """Returns path, shape and dims of a Keras variable."""
    shape = tuple(variable.shape)
    dims = getattr(variable, "dims", (None,) * len(shape))
    return _Described(variable.path, shape, dims)


def size_of(variable) -> int:
    """Returns the bytes of a Keras variable."""
    return num_bytes(variable, backend.standardize_dtype(variable.dtype))


def _fill(variable, match, source):
    """Gives a variable its value; returns the sums of what it holds then."""
    sent = {}

    def fill(where, array):
        match.fill(array, source, where)
        sent[_key(where)] = _sums(array, match.weight.dims)

    put(variable, fill)
    for where, value in parts(variable):
        if _sums(value, match.weight.dims) != sent[_key(where)]:
            raise ConversionError(
                f"{match.weight.path} does not hold what was read from {source.name}: "
                "its sums differ. This is a fault of memory or of this library; load "
                "again, and do not use the model."
            )
    if len(sent) == 1:
        return next(iter(sent.values()))
    return _joined(sent)


def _key(where):
    return None if where is None else tuple((p.start, p.stop) for p in where)


def _joined(sent):
    """Returns the sums of a weight in parts, by their order in the weight."""
    return tuple(crc for key in sorted(sent) for crc in sent[key])


def _sums(value, dims):
    """Returns the CRC-32 of each expert, or of the whole."""
    pieces = value if dims and dims[0] == "experts" else [value]
    return tuple(
        zlib.crc32(np.ascontiguousarray(piece).view("uint8")) for piece in pieces
    )


def checksums(model) -> dict[str, tuple[int, ...]]:
    """Returns the CRC-32 of every weight by path; of experts one each.

    Two models hold the same weights if these are equal, whatever mesh they are on.
    """
    return {
        variable.path: _sums(whole(variable), described(variable).dims)
        for variable in model.weights
    }


def dump(variables, table: Table):
    """Yields name and tensor of a format for every weight, one weight at a time.

    Args:
        variables: Keras variables with `path`, `shape` and `dims`.
        table: names of the format.

    Raises:
        ConversionError: before anything is yielded, naming every weight that the format
            has no name for.
    """
    variables = list(variables)
    matches = named(map(described, variables), table)

    def tensors():
        for variable, match in zip(variables, matches, strict=True):
            value = whole(variable)
            for name, piece in match.pieces(value):
                yield name, piece
                for copy in table.copies.get(name, ()):
                    yield copy, piece

    return tensors()


def named(weights, table: Table) -> list[Match]:
    """Returns the names of every weight in a format.

    Raises:
        ConversionError: naming every weight that the format has no name for.
    """
    weights = list(weights)
    matches = [table.match(weight) for weight in weights]
    refuse(
        f"This model cannot be written as {table.format}",
        (
            f"{weight.path}: the format has no name for this weight"
            for weight, match in zip(weights, matches, strict=True)
            if match is None
        ),
    )
    return matches
