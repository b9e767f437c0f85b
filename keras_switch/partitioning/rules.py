"""Layout rules: which named dimension of tensors is split over which axis of a mesh."""

import collections
import dataclasses

from keras_switch.partitioning.mistakes import listed, nearest, pairs, refuse

DIMS = (
    "batch",
    "length",
    "d_model",
    "heads",
    "kv_heads",
    "d_kv",
    "d_ff",
    "experts",
    "capacity",
    "vocab",
    "buckets",
)
UNSPLIT = ("experts_unsplit",)  # of routers, which no rule may split
EXAMPLE = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"


@dataclasses.dataclass(frozen=True)
class LayoutRules:
    """Mesh TensorFlow's layout rules.

    `kv_heads` follows the rule of `heads` where its size allows, unless it has a rule
    of its own.

    Args:
        pairs: `((dim, axis), ...)`. A dimension without a rule is split nowhere.

    Raises:
        ValueError: with every mistake: a dimension that no tensor has (`DIMS` are
            known), or one with two rules.

    Example:
        >>> rules = LayoutRules.parse("batch:data,experts:data,d_ff:model")
        >>> rules.axis_of("d_ff")
        'model'
    """

    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "pairs", tuple((d, a) for d, a in self.pairs))
        refuse(f"The layout rules {str(self)!r} are wrong", list(self._mistakes()))

    @classmethod
    def parse(cls, text):
        """Returns the rules of a string such as `"batch:data,d_ff:model"`."""
        if isinstance(text, cls):
            return text
        found, mistakes = pairs(text, EXAMPLE)
        refuse(f"The layout rules {text!r} cannot be read", mistakes)
        return cls(tuple(found))

    def __str__(self):
        return ",".join(f"{dim}:{axis}" for dim, axis in self.pairs)

    def axis_of(self, dim):
        """Returns the axis over which a dimension is split, or `None`."""
        axes = dict(self.pairs)
        if dim == "kv_heads":
            return axes.get(dim, axes.get("heads"))
        return axes.get(dim)

    def specs(self, dims, shape, mesh_shape):
        """Returns the axis that splits each dimension of a tensor, or `None` for it.

        The first dimension that wants an axis takes it; later ones stay whole, as does
        one whose size is unknown or no multiple of the axis: of an activation
        `("batch", "length", "d_model")` only the batch is split over `data` although
        the rules split the `d_model` of weights there too. For weights, `check` makes
        an error of both.

        Args:
            dims: name of each dimension, or `None` for one that is never split.
            shape: its sizes; `None` where not known.
            mesh_shape: `MeshShape`.
        """
        taken, specs = set(), []
        for dim, size in zip(dims, shape, strict=True):
            axis = self._wanted(dim, mesh_shape)
            parts = mesh_shape.size(axis)
            if axis in taken or size is None or size % parts:
                axis = None
            taken.add(axis)
            taken.discard(None)
            specs.append(axis)
        return tuple(specs)

    def check(self, mesh_shape, weights=()):
        """Raises `ValueError` with every mistake of the rules on this mesh.

        Args:
            mesh_shape: `MeshShape`.
            weights: `(path, shape, dims)` of the weights to lay out; `dims` may be
                `None` for a weight that is on every device whole.
        """
        mistakes = [
            f"{dim}:{axis}: the mesh {str(mesh_shape)!r} has no axis {axis!r}; nearest "
            f"is {nearest(axis, mesh_shape.names)}"
            for dim, axis in self.pairs
            if axis not in mesh_shape.names
        ]
        for path, shape, dims in weights:
            if dims is not None:
                mistakes += self._of_weight(path, shape, dims, mesh_shape)
        refuse(f"The layout rules {str(self)!r} do not fit", mistakes)

    def _wanted(self, dim, mesh_shape):
        """Returns the axis of the rules; `None` too for one that splits nothing."""
        axis = self.axis_of(dim)
        return axis if axis in mesh_shape.names and mesh_shape.size(axis) > 1 else None

    def _of_weight(self, path, shape, dims, mesh_shape):
        what = f"the weight {path!r}, {_described(dims, shape)}"
        if len(dims) != len(shape):
            yield f"{what}: give one name, or None, per axis"
            return
        wanted = [self._wanted(dim, mesh_shape) for dim in dims]
        for axis, count in collections.Counter(filter(None, wanted)).items():
            if count > 1:
                both = [d for d, a in zip(dims, wanted, strict=True) if a == axis]
                yield (
                    f"{what}: {listed(both)} are both split over {axis!r}; give all "
                    "but one of them another axis, or none"
                )
        for dim, size, axis in zip(dims, shape, wanted, strict=True):
            parts = mesh_shape.size(axis)
            follows = dim == "kv_heads" and "kv_heads" not in dict(self.pairs)
            if size % parts and not follows:
                yield (
                    f"{what}: {dim}={size} cannot be split over {axis}:{parts}; "
                    f"nearest are {_multiples(size, parts)}"
                )

    def _mistakes(self):
        for dim, axis in self.pairs:
            if dim not in DIMS:
                yield (
                    f"{dim}:{axis}: no tensor has a dimension {dim!r}; nearest is "
                    f"{nearest(dim, DIMS)}, known are {listed(DIMS)}"
                )
        for dim, count in collections.Counter(d for d, _ in self.pairs).items():
            if count > 1:
                yield f"{dim!r} has {count} rules: leave one"


def _described(dims, shape):
    """Returns `(experts=8, d_ff=64)`."""
    if len(dims) != len(shape):
        return f"shape {tuple(shape)} with dims {tuple(dims)}"
    named = (f"{dim}={size}" for dim, size in zip(dims, shape, strict=True))
    return f"({', '.join(named)})"


def _multiples(size, parts):
    """Returns the multiples of `parts` around `size`, as text."""
    low = size // parts * parts
    return " and ".join(str(n) for n in (low, low + parts) if n > 0)
