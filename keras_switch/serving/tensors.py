"""What a signature takes, checked before anything is made of a request."""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_switch.serving.errors import Refused


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a request may hold.

    Args:
        rows: inputs, at most.
        lengths: to which token ids are padded, ascending; none may be longer.
    """

    rows: int
    lengths: tuple[int, ...]

    def padded_length(self, length) -> int:
        """Returns the first of `lengths` that holds so many tokens."""
        return next(known for known in self.lengths if known >= length)


@dataclasses.dataclass(frozen=True)
class Spec:
    """An input of a signature.

    Args:
        name: of the input.
        dtype: `tf.DType`.
        shape: sizes, `None` where any will do; first the rows.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, name, info):
        """Returns the spec of a `TensorInfo`."""
        sizes = (dim.size for dim in info.tensor_shape.dim)
        shape = tuple(None if size < 0 else size for size in sizes)
        return cls(name, tf.as_dtype(info.dtype), shape)

    def check(self, shape, limits):
        """Raises `Refused` unless an array of this shape may be made."""
        if len(shape) != len(self.shape):
            raise Refused(
                f"input {self.name!r} has {len(shape)} axes, but needs "
                f"{len(self.shape)}: its shape is {self}"
            )
        if not 1 <= shape[0] <= limits.rows:
            raise Refused(
                f"input {self.name!r} has {shape[0]} rows: give 1 to {limits.rows}"
            )
        for size, wanted in zip(shape[1:], self.shape[1:], strict=True):
            if wanted is None and not 0 <= size <= limits.lengths[-1]:
                raise Refused(
                    f"input {self.name!r} is {size} tokens long: at most "
                    f"{limits.lengths[-1]} are taken"
                )
            if wanted is not None and size != wanted:
                raise Refused(f"input {self.name!r} has shape {shape}, not {self}")

    def padded(self, array, limits):
        """Returns an array with 0 behind each row, up to one of the lengths."""
        more = [(0, 0)]
        for size, wanted in zip(array.shape[1:], self.shape[1:], strict=True):
            to = size if wanted is not None else limits.padded_length(size)
            more.append((0, to - size))
        return np.pad(array, more) if any(after for _, after in more) else array

    def __str__(self):
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"({sizes})"


@dataclasses.dataclass(frozen=True)
class Question:
    """A checked request.

    Args:
        signature: its name.
        inputs: arrays by name, of equal numbers of rows, token ids padded.
        outputs: names of those that are wanted.
    """

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many inputs there are."""
        return len(next(iter(self.inputs.values())))

    @property
    def kind(self):
        """What is equal in questions that the model can answer together."""
        shapes = (array.shape[1:] for _, array in sorted(self.inputs.items()))
        return self.signature, tuple(shapes)


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of an exported model.

    Args:
        name: its name.
        inputs: `Spec`s by name.
        outputs: names.
    """

    name: str
    inputs: dict[str, Spec]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, name, definition):
        """Returns the signature of a `SignatureDef`."""
        inputs = {n: Spec.of(n, info) for n, info in definition.inputs.items()}
        return cls(name, inputs, tuple(sorted(definition.outputs)))

    def check_names(self, names):
        """Raises `Refused` unless these are the names of all inputs."""
        if set(names) != set(self.inputs):
            raise Refused(
                f"signature {self.name!r} takes the inputs {sorted(self.inputs)}, but "
                f"got {sorted(names)}"
            )

    def question(self, arrays, limits, outputs=()) -> Question:
        """Returns a checked request.

        Args:
            arrays: by the names of the inputs.
            limits: `Limits`.
            outputs: names of those that are wanted; none: all.

        Raises:
            Refused: if something does not fit.
        """
        for name, array in arrays.items():
            self.inputs[name].check(array.shape, limits)
        rows = {len(array) for array in arrays.values()}
        if len(rows) > 1:
            raise Refused(f"inputs have {sorted(rows)} rows: give equally many")
        unknown = sorted(set(outputs) - set(self.outputs))
        if unknown:
            raise Refused(
                f"signature {self.name!r} has the outputs {list(self.outputs)}, not "
                f"{unknown}"
            )
        padded = {n: self.inputs[n].padded(a, limits) for n, a in arrays.items()}
        return Question(self.name, padded, tuple(outputs) or self.outputs)
