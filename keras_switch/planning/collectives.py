"""The messages of a training step: which collectives a layout makes, and of what size.

Each operation is laid out on its own, as DTensor lowers it: every sum over a dimension
that is split becomes one all-reduce, of the result's local part. So these records can
be compared one by one with collectives counted in a lowered graph.
"""

import dataclasses
from collections.abc import Iterator

from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.planning.operations import Move, Product, Step, Tensor

ALL_REDUCE, ALL_GATHER, ALL_TO_ALL = "all-reduce", "all-gather", "all-to-all"
FORWARD, BACKWARD, AGAIN = "forward", "backward", "recomputed forward"


@dataclasses.dataclass(frozen=True)
class Collective:
    """One kind of message at one place of the model.

    Args:
        kind: `"all-reduce"`, `"all-gather"` or `"all-to-all"`.
        axis: the mesh axis along which devices talk.
        size: devices along it.
        bytes: of the whole local tensor: what goes in, or comes out of an all-gather.
        dtype: its dtype.
        phase: `"forward"`, `"backward"` or `"recomputed forward"`.
        name: where in the model, and of what.
        weight: whether a weight or its gradient travels, not an activation.
        times: how often in one step.
    """

    kind: str
    axis: str
    size: int
    bytes: int
    dtype: str
    phase: str
    name: str
    weight: bool
    times: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends each time, by the best known algorithms."""
        share = (self.size - 1) / self.size
        return self.bytes * share * (2 if self.kind == ALL_REDUCE else 1)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Rules on a mesh.

    Args:
        mesh: the mesh.
        rules: which dimension is split over which axis.
    """

    mesh: MeshShape
    rules: LayoutRules

    def axes(self, tensor: Tensor) -> dict[str, str]:
        """Returns the axis of each dimension that is split."""
        specs = self.rules.specs(tensor.dims, tensor.shape, self.mesh)
        return {d: a for d, a in zip(tensor.dims, specs, strict=True) if a}

    def parts(self, tensor: Tensor) -> int:
        """Returns the number of different parts of a tensor."""
        parts = 1
        for axis in self.axes(tensor).values():
            parts *= self.mesh.size(axis)
        return parts

    def bytes(self, tensor: Tensor) -> int:
        """Returns the bytes of a tensor on one device."""
        return tensor.bytes // self.parts(tensor)


def collectives(step: Step, layout: Layout) -> tuple[Collective, ...]:
    """Returns every collective of a training step.

    Left out are those of a few numbers: losses, metrics, norms of gradients, and the
    means that a factored optimizer takes along a split dimension.

    Args:
        step: from `walk`.
        layout: the mesh and its rules.
    """
    found, read = [], set()
    for operation in step.operations:
        if isinstance(operation, Move):
            found += _of_move(operation, layout)
        elif isinstance(operation, Product):
            found += _of_product(operation, layout, read)
    if step.remat:
        inside = {op.name for op in step.operations if op.in_block}
        again = [c for c in found if c.phase == FORWARD and _place(c) in inside]
        found += [dataclasses.replace(c, phase=AGAIN) for c in again]
    return tuple(found)


def gathered(product: Product, layout: Layout) -> dict[str, str]:
    """Returns the split dimensions of the second operand that cannot stay split.

    Their axis is taken by another dimension of the first operand or of the result: of
    an FSDP layout the weights, whose `d_model` is split as the batch is.
    """
    busy = layout.axes(product.left), layout.axes(product.out)
    # Heads of keys that are split as the heads of queries are lie where they are used.
    used_as = {axis: dim for dim, axis in layout.axes(product.right).items()}
    return {
        dim: axis
        for dim, axis in layout.axes(product.as_stored).items()
        if any(
            axis in axes.values() and axes.get(used_as.get(axis, dim)) != axis
            for axes in busy
        )
    }


def _of_product(product: Product, layout: Layout, seen: set) -> Iterator[Collective]:
    """Yields the messages of one product and its gradients.

    Args:
        product: the product.
        layout: the mesh and its rules.
        seen: (axis, name) of what others read too and whose gradient is summed already.
    """
    gather = gathered(product, layout)
    if product.looked_up and gather:
        yield from _of_look_up(product, layout, gather)
        return
    stored, out = product.as_stored, layout.axes(product.out)
    for axis in gather.values():
        whole = layout.bytes(stored) * layout.mesh.size(axis)
        yield _record(ALL_GATHER, axis, whole, FORWARD, product, layout, stored)
    split = {**layout.axes(product.left), **layout.axes(product.right)}
    split = {dim: a for dim, a in split.items() if dim not in gather}
    for axis in _summed(split, product.out):
        yield _reduce(axis, FORWARD, product, layout, product.out)
    if product.left_gradient:
        for axis in _summed(out, product.left):
            message = _reduce(axis, BACKWARD, product, layout, product.left)
            yield from _first(message, product.left_read, seen)
    if product.right_gradient:
        right = layout.axes(product.right)
        for axis in _summed({**right, **out}, stored):
            if axis in gather.values():  # summed whole; each device keeps its part
                whole = layout.bytes(stored) * layout.mesh.size(axis)
                kind = ALL_REDUCE
                yield _record(kind, axis, whole, BACKWARD, product, layout, stored)
            elif axis not in layout.axes(stored).values():
                message = _reduce(axis, BACKWARD, product, layout, stored)
                yield from _first(message, product.right_read, seen)


def _of_look_up(product, layout, gather):
    """Yields the messages of looking up rows whose numbers lie on several devices.

    Each device looks up its numbers for the whole batch, and sends every other the part
    of that one's sequences.
    """
    ids, rows = product.left, product.looked_up
    for axis in gather.values():
        size, moved = layout.bytes(ids) * layout.mesh.size(axis), layout.bytes(rows)
        for phase in (FORWARD, BACKWARD):
            yield _record(ALL_GATHER, axis, size, phase, product, layout, ids)
            yield _record(ALL_TO_ALL, axis, moved, phase, product, layout, rows)


def _first(message, read, seen):
    """Yields a message, unless it is part of one that others sent for the same."""
    if read is None:
        yield message
    elif (message.axis, read.name) not in seen:
        seen.add((message.axis, read.name))
        yield dataclasses.replace(message, times=1) if read.once else message


def _summed(axes: dict[str, str], result: Tensor):
    """Returns the axes of the dimensions that a result lacks, each once."""
    return dict.fromkeys(axis for dim, axis in axes.items() if dim not in result.dims)


def _of_move(move: Move, layout: Layout) -> Iterator[Collective]:
    """Yields the messages of a change of layout, there and, for gradients, back."""
    for phase, a, b in (
        (FORWARD, move.before, move.after),
        (BACKWARD, move.after, move.before),
    ):
        lost = set(layout.axes(a).items()) - set(layout.axes(b).items())
        gained = {axis for _, axis in set(layout.axes(b).items())}
        for _, axis in sorted(lost):
            kind = ALL_TO_ALL if axis in gained else ALL_GATHER
            size = layout.bytes(a) * (
                1 if kind == ALL_TO_ALL else layout.mesh.size(axis)
            )
            yield _record(kind, axis, size, phase, move, layout, a)


def _reduce(axis, phase, product, layout, tensor):
    size = layout.bytes(tensor)
    return _record(ALL_REDUCE, axis, size, phase, product, layout, tensor)


def _record(kind, axis, size, phase, operation, layout, tensor):
    weight = getattr(operation, "weight", False) and tensor is operation.as_stored
    what = "weight" if kind == ALL_GATHER and weight else "gradient" * weight
    return Collective(
        kind,
        axis,
        layout.mesh.size(axis),
        size,
        tensor.dtype,
        phase,
        f"{operation.name} {what}".strip(),
        weight,
        operation.times,
    )


def _place(collective):
    return collective.name.removesuffix(" weight").removesuffix(" gradient")
