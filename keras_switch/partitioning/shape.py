"""The shape of a mesh: its axes by name and size."""

import dataclasses
import math

from keras_switch.partitioning.mistakes import pairs, refuse

MOST_AXES = 3  # random numbers of split tensors do not compile on meshes of more
EXAMPLE = "data:4,model:2"


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """Names and sizes of a mesh's axes.

    Args:
        axes: `((name, size), ...)`, at most 3.

    Raises:
        ValueError: with every mistake: bad or repeated names, sizes that are no
            positive whole numbers, no axes or more than 3.

    Example:
        >>> MeshShape.parse("data:4,model:2").num_devices
        8
    """

    axes: tuple[tuple[str, int], ...]

    def __post_init__(self):
        object.__setattr__(self, "axes", tuple((n, s) for n, s in self.axes))
        refuse(f"The mesh shape {str(self)!r} is not possible", list(self._mistakes()))

    @classmethod
    def parse(cls, text):
        """Returns the shape that a string such as `"data:4,model:2"` describes."""
        if isinstance(text, cls):
            return text
        found, mistakes = pairs(text, EXAMPLE)
        axes = []
        for name, size in found:
            if size.isdecimal():
                axes.append((name, int(size)))
            else:
                mistakes.append(
                    f"{name!r} has the size {size!r}: give a positive whole number"
                )
        refuse(f"The mesh shape {text!r} cannot be read", mistakes)
        return cls(tuple(axes))

    def __str__(self):
        return ",".join(f"{name}:{size}" for name, size in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """The axes' names."""
        return tuple(name for name, _ in self.axes)

    @property
    def num_devices(self) -> int:
        """Devices in the mesh."""
        return math.prod(size for _, size in self.axes)

    def size(self, name) -> int:
        """Returns the size of an axis; 1 for `None`.

        Raises:
            KeyError: if there is no such axis.
        """
        return 1 if name is None else dict(self.axes)[name]

    def _mistakes(self):
        if not self.axes:
            yield f"it has no axes: write it like {EXAMPLE!r}"
        if len(self.axes) > MOST_AXES:
            yield (
                f"it has {len(self.axes)} axes, but random numbers can be drawn on "
                f"meshes of at most {MOST_AXES}: join two of them into one"
            )
        for name, size in self.axes:
            if not (isinstance(name, str) and name.isidentifier()):
                yield f"{name!r} is no name: use letters, digits and _"
            if type(size) is not int or size < 1:
                yield f"{name!r} has the size {size!r}: give a positive whole number"
        for name in {n for n in self.names if self.names.count(n) > 1}:
            yield f"the axis {name!r} is there twice: leave one out"
