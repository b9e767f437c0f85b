"""Where tensors come from: the interface that every file format implements."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is known of a tensor before it is read.

    Args:
        shape: its shape.
        dtype: name of its type as NumPy and `ml_dtypes` have it.
    """

    shape: tuple[int, ...]
    dtype: str


class Source:
    """Tensors by name that are read one by one, or in parts.

    Subclasses set `name`, for messages, and `tensors`, a dictionary of `Tensor`; and
    `divisible` to `False` if a part of a tensor costs as much as all of it.
    """

    name: str
    tensors: dict[str, Tensor]
    divisible: bool = True

    def read(self, name: str, where=None) -> np.ndarray:
        """Returns a tensor, or the part of it that `where` cuts out.

        Args:
            name: key of `tensors`.
            where: tuple of slices, one per axis; `None` is all of it.
        """
        raise NotImplementedError


class Arrays(Source):
    """Tensors that are in memory, or that something like a `.npz` file gives.

    Args:
        arrays: arrays by name.
        name: for messages.
    """

    def __init__(self, arrays, name="arrays"):
        self.name, self._arrays = name, arrays
        self.tensors = {
            key: Tensor(tuple(arrays[key].shape), arrays[key].dtype.name)
            for key in arrays
        }

    def read(self, name, where=None):
        value = np.asarray(self._arrays[name])
        return value if where is None else value[where]
