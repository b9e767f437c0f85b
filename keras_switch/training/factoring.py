"""How Adafactor stores second moments: which axes of a weight are rows, which columns.

A rule is a frozen, serializable object with one method, `plan(shape, dims)`; `dims` are
the names that `layers.base.Layer.add_param` kept on the weight (None elsewhere).

The axes `heads, d_kv` of our attention weights are one axis in the originals'
(`joined_kv` in T5X, `heads * d_kv` in Mesh TensorFlow): they are factored as one.
"""

import dataclasses
import math

import keras

_JOINED = (("heads", "d_kv"), ("kv_heads", "d_kv"))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of the axes of one weight.

    Args:
        rows: axes that the row slot keeps, or None if the weight is not factored.
        columns: axes that the column slot keeps, or None.
        clipped: axes over which the RMS that clips the update is taken.
        scaled: axes over which the RMS of the weight, its scale, is taken.
    """

    rows: tuple[int, ...] | None
    columns: tuple[int, ...] | None
    clipped: tuple[int, ...]
    scaled: tuple[int, ...]


class Factoring:
    """Base of the rules; compares and serializes by its fields."""

    def plan(self, shape, dims=None) -> Plan:
        """Returns the plan for a weight of this shape and these dimension names."""
        raise NotImplementedError

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**{k: _tuple(v) for k, v in config.items()})


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Unfactored(Factoring):
    """A second moment for every entry, as Adam keeps.

    Args:
        stacked: names of dimensions that stack separate weights.
    """

    stacked: tuple[str, ...] = ()

    def plan(self, shape, dims=None):
        together = _together(shape, dims, self.stacked)
        return Plan(None, None, clipped=together, scaled=together)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class MeshTensorFlowFactoring(Factoring):
    """The two largest axes, if both have `min_dim_size`; one scale for a whole weight.

    Source: `mesh_tensorflow.optimize.AdafactorOptimizer`.

    Args:
        min_dim_size: least size of an axis to be factored.
        stacked: names of dimensions, such as `"experts"`, that are not factored and
            along which each entry has a parameter scale of its own
            (`stacked_dim_names`; clipping stays common). None by default, as in the
            published runs.
    """

    min_dim_size: int = 128
    stacked: tuple[str, ...] = ()

    def plan(self, shape, dims=None):
        scaled = _together(shape, dims, self.stacked)
        groups = [g for g in _groups(shape, dims) if set(g) <= set(scaled)]
        by_size = sorted(groups, key=lambda group: -_size(shape, group))
        rows, columns = _largest(shape, by_size, self.min_dim_size)
        return Plan(rows, columns, tuple(range(len(shape))), scaled)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class T5XFactoring(Factoring):
    """T5X's logical rules: every expert is factored, clipped and scaled on its own.

    A weight whose first axis is among `stacked` is factored whatever its size,
    `d_model` against the rest; other weights by their two largest axes, if both have
    `min_dim_size`. The last axis of a router's kernel, also named `experts`, stacks
    nothing (T5X names it `unmodeled`).
    Sources: `t5x.adafactor`, `t5x.contrib.moe.adafactor_utils`.

    Args:
        min_dim_size: least size of an axis to be factored in a weight without stack.
        stacked: names of leading dimensions that stack separate weights.
    """

    min_dim_size: int = 128
    stacked: tuple[str, ...] = ("experts", "layers")

    def plan(self, shape, dims=None):
        axes = tuple(range(len(shape)))
        if not dims or dims[0] not in self.stacked:
            by_size = sorted(_groups(shape, dims), key=lambda g: _size(shape, g))
            rows, columns = _largest(shape, by_size[::-1], self.min_dim_size)
            return Plan(rows, columns, axes, axes)
        rows = tuple(axis for axis in axes[1:] if dims[axis] == "d_model")
        columns = tuple(axis for axis in axes[1:] if axis not in rows)
        if not rows or not columns:
            return Plan(None, None, axes[1:], axes[1:])
        return Plan(rows, columns, axes[1:], axes[1:])


def _largest(shape, groups, min_dim_size):
    """Returns rows and columns: the first two of `groups`, which are sorted by size."""
    if len(groups) < 2 or _size(shape, groups[1]) < min_dim_size:
        return None, None
    columns, rows = groups[:2]  # in both originals the row slot loses the largest axis
    return rows, columns


def _groups(shape, dims):
    """Returns the axes, those that the originals join into one taken together."""
    groups = [(axis,) for axis in range(len(shape))]
    for axis in range(len(shape) - 1):
        if dims is not None and tuple(dims[axis : axis + 2]) in _JOINED:
            groups[axis : axis + 2] = [(axis, axis + 1)]
            break
    return groups


def _together(shape, dims, stacked):
    """Returns the axes that do not stack separate weights."""
    names = dims or (None,) * len(shape)
    return tuple(axis for axis in range(len(shape)) if names[axis] not in stacked)


def _size(shape, axes):
    return math.prod(shape[axis] for axis in axes)


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value
