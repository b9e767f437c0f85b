"""How the weights of a model lie on its mesh, as a table."""

import dataclasses
import math

from keras_switch.partitioning.table import aligned
from keras_switch.partitioning.variables import is_on_mesh

_TITLES = ("weight", "shape", "split over", "bytes per device")


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """Where one weight lies.

    Args:
        path: of the weight.
        shape: whole.
        spec: axis of the mesh that splits each dimension, or `None`.
        bytes_per_device: of the part that one device holds.
    """

    path: str
    shape: tuple[int, ...]
    spec: tuple[str | None, ...]
    bytes_per_device: int


@dataclasses.dataclass(frozen=True)
class LayoutTable:
    """What `explain_layout` returns; printed, it is a table.

    Args:
        mesh: shape of the mesh as text, or `None`.
        rows: a `WeightLayout` for each weight.
    """

    mesh: str | None
    rows: tuple[WeightLayout, ...]

    @property
    def bytes_per_device(self) -> int:
        """Bytes of all weights on one device."""
        return sum(row.bytes_per_device for row in self.rows)

    def __str__(self):
        cells = [_TITLES, *(_cells(row) for row in self.rows)]
        cells.append(("total", "", "", f"{self.bytes_per_device:,}"))
        lines = aligned(cells, left=len(_TITLES) - 1)
        where = "without a mesh" if self.mesh is None else f"on the mesh {self.mesh}"
        return "\n".join([f"Weights {where}", *lines])


def explain_layout(model):
    """Returns a `LayoutTable`: how each weight of a built model is split, and its size.

    Args:
        model: a Keras model or layer, on a mesh or not.

    Raises:
        ValueError: if the model has no weights yet.

    Example:
        >>> print(explain_layout(model))
    """
    if not model.weights:
        raise ValueError(
            f"{model.name!r} has no weights yet: build it, or call it once, before "
            "its layout is explained."
        )
    meshes = {str(w.value.placement) for w in model.weights if is_on_mesh(w)}
    return LayoutTable(
        mesh=", ".join(sorted(meshes)) or None,
        rows=tuple(map(layout_of, model.weights)),
    )


def layout_of(weight):
    """Returns the `WeightLayout` of a Keras variable."""
    shape = tuple(weight.shape)
    spec, parts = (None,) * len(shape), 1
    if is_on_mesh(weight):
        layout = weight.value.layout
        spec = tuple(None if s == "unsharded" else s for s in layout.sharding_specs)
        parts = math.prod(layout.mesh.dim_size(s) for s in spec if s)
    size = math.prod(shape) * weight.value.dtype.size
    return WeightLayout(weight.path, shape, spec, size // parts)


def _cells(row):
    spec = ", ".join(axis or "-" for axis in row.spec)
    return row.path, f"{row.shape}", f"({spec})", f"{row.bytes_per_device:,}"
