"""Names of weights here and in a format, as data, and how one becomes the other.

`Row("{stack}/block_{i}/mlp/wi", "{mlp}.wi.weight", transposed=True)` says all there is
to know about a kind of weight, for both directions. Heads and their sizes are one axis
in all formats, so that needs no saying.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping

import numpy as np

_HEADS = ("heads", "kv_heads")
_BLOCK = 1 << 22  # bytes read at a time


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of weight under both its names.

    Args:
        ours: path in `SwitchBackbone`; `{stack}` and `{i}` stand for the stack and the
            number of the block.
        theirs: name in the format. It may use `{stack}`, `{i}` and what `Table.scopes`
            gives; with `{e}` there is one tensor for each expert.
        transposed: whether a tensor there has its axes in reverse order.
    """

    ours: str
    theirs: str
    transposed: bool = False

    @functools.cached_property
    def pattern(self):
        text = re.escape(self.ours)
        for field, kind in (("stack", "encoder|decoder"), ("i", r"\d+")):
            escaped = re.escape(f"{{{field}}}")
            text = text.replace(escaped, f"(?P<{field}>{kind})", 1)
            text = text.replace(escaped, f"(?P={field})")
        return re.compile(text)


@dataclasses.dataclass(frozen=True)
class Table:
    """All names of a format.

    Args:
        format: its name, for messages.
        rows: the kinds of weights.
        scopes: function of a stack and the number of a block that returns what the
            names of that block use. `layer` among them is the place of the block in
            tensors that stack several blocks along the axis `layer_axis`.
        ignored: patterns of names that are no weights: slots of optimizers, counters.
        copies: names of tensors that repeat another one, by that one's name.
        layer_axis: see `scopes`.
    """

    format: str
    rows: tuple[Row, ...]
    scopes: Callable[[str, int], Mapping] = lambda stack, i: {}
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    layer_axis: int = 1

    def match(self, weight) -> "Match | None":
        """Returns where a weight is found there, or `None` if no row tells.

        Args:
            weight: `models.WeightCount`: anything with path, shape and dims.
        """
        for row in self.rows:
            found = row.pattern.fullmatch(weight.path)
            if found is None:
                continue
            fields = found.groupdict()
            of_block = "i" in fields
            own = self.scopes(fields["stack"], int(fields["i"])) if of_block else {}
            scopes = {**fields, **own}
            layer = scopes.pop("layer", None)
            split = "{e}" in row.theirs
            experts = range(weight.shape[0]) if split else (None,)
            names = tuple(row.theirs.format(e=e, **scopes) for e in experts)
            return Match(weight, names, split, row.transposed, layer, self.layer_axis)
        return None

    def copying(self, copies) -> "Table":
        """Returns the same table with other copies."""
        return dataclasses.replace(self, copies=copies)

    def ignores(self, name: str) -> bool:
        """Returns whether a tensor is no weight."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


@dataclasses.dataclass(frozen=True)
class Match:
    """A weight and the tensors that hold it in a format.

    Args:
        weight: path, shape and dims of ours.
        names: one tensor, or one for each expert.
        split: whether each expert has a tensor of its own.
        transposed: see `Row`.
        layer: place along `layer_axis` of tensors that stack blocks, or `None`.
        layer_axis: that axis.
    """

    weight: object
    names: tuple[str, ...]
    split: bool = False
    transposed: bool = False
    layer: int | None = None
    layer_axis: int = 1

    def tensor_shape(self) -> tuple[int | None, ...]:
        """Returns the shape of each tensor; `None` for the number of stacked blocks."""
        shape = [stop - start for start, stop in self._piece]
        shape = shape[::-1] if self.transposed else shape
        if self.layer is not None:
            shape.insert(self.layer_axis, None)
        return tuple(shape)

    def read(self, source, where=None, dtype="float32") -> np.ndarray:
        """Returns a part of the weight, read from the part of the file that holds it.

        Args:
            source: `Source`.
            where: slice of each axis of ours; `None` is all of it.
            dtype: of the result; floats are cast to it.
        """
        spans = _spans(where, self.weight.shape)
        result = np.empty([stop - start for start, stop in spans], dtype)
        self.fill(result, source, where)
        return result

    def fill(self, result, source, where=None):
        """Fills an array with a part of the weight; see `read`.

        Args:
            result: array of the part's shape.
            source: `Source`.
            where: slice of each axis of ours; `None` is all of it.
        """
        where = _spans(where, self.weight.shape)
        if self.split:
            for at, expert in enumerate(range(*where[0])):
                self._fill(result[at], source, self.names[expert], where[1:])
        else:
            self._fill(result, source, self.names[0], where)

    def _fill(self, result, source, name, where):
        """Reads a part of one tensor, a few rows at a time: it is not there twice."""
        (start, stop), *rest = where
        step = max(1, _BLOCK * len(result) // max(1, result.nbytes))
        if not source.divisible:
            step = max(1, len(result))
        for at in range(start, stop, step):
            end = min(at + step, stop)
            rows = self._read(source, name, [(at, end), *rest])
            result[at - start : end - start] = rows

    def pieces(self, value):
        """Yields name and tensor of the format for the whole of a weight.

        Args:
            value: array of the weight's shape.
        """
        shape = tuple(stop - start for start, stop in self._piece)
        values = value if self.split else [value]
        for name, piece in zip(self.names, values, strict=True):
            piece = np.reshape(piece, shape)
            yield name, np.ascontiguousarray(piece.T if self.transposed else piece)

    @property
    def _of_one(self):
        """Shape and dims of what one tensor holds."""
        return self.weight.shape[self.split :], self.weight.dims[self.split :]

    @functools.cached_property
    def _piece(self):
        """The whole of one tensor as spans of our axes, heads and their size as one."""
        shape, dims = self._of_one
        return _merge_heads([(0, size) for size in shape], shape, dims)

    def _read(self, source, name, where):
        """Returns the part `where` of one tensor, its axes in our order."""
        shape, dims = self._of_one
        spans = _merge_heads(where, shape, dims)
        spans = spans[::-1] if self.transposed else spans
        if self.layer is not None:
            spans.insert(self.layer_axis, (self.layer, self.layer + 1))
        value = source.read(name, tuple(slice(*span) for span in spans))
        if self.layer is not None:
            value = np.squeeze(value, self.layer_axis)
        return _cut_heads(value.T if self.transposed else value, where, shape, dims)


def _spans(where, shape):
    """Returns start and stop along each axis."""
    where = where or (slice(None),) * len(shape)
    return [part.indices(size)[:2] for part, size in zip(where, shape, strict=True)]


def _heads_axis(dims):
    """Returns the axis of the heads, behind which their size follows, or `None`."""
    return (
        next((axis for axis, dim in enumerate(dims) if dim in _HEADS), None)
        if ("d_kv" in dims)
        else None
    )


def _merge_heads(spans, shape, dims):
    """Returns spans with whole heads as spans of the axis that holds both."""
    axis, spans = _heads_axis(dims), list(spans)
    if axis is None:
        return spans
    start, stop = spans[axis]
    size = shape[axis + 1]
    return [*spans[:axis], (start * size, stop * size), *spans[axis + 2 :]]


def _cut_heads(value, where, shape, dims):
    """Returns the wanted part of what `_merge_heads` had to read whole."""
    axis = _heads_axis(dims)
    if axis is None:
        return value
    sizes = [stop - start for start, stop in where]
    sizes[axis + 1] = shape[axis + 1]
    index = [slice(None)] * len(sizes)
    index[axis + 1] = slice(*where[axis + 1])
    return np.reshape(value, sizes)[tuple(index)]


def num_bytes(weight, dtype) -> int:
    """Returns the bytes of a weight."""
    return math.prod(weight.shape) * np.dtype(dtype).itemsize
