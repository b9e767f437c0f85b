"""The tensors of a training step by named dimensions, and what is done with them.

Nothing here knows a mesh: `collectives.py` and `memory.py` lay these out.
"""

import dataclasses
import math

BYTES = {
    **{"float64": 8, "int64": 8, "float32": 4, "int32": 4},
    **{"bfloat16": 2, "float16": 2, "bool": 1},
}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that is never made.

    Args:
        dims: name of each dimension, as `partitioning.LayoutRules` reads them; names
            that it does not know are never split.
        shape: its sizes.
        dtype: name of its dtype.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * BYTES[self.dtype]

    def as_dtype(self, dtype: str) -> "Tensor":
        """Returns the tensor in another dtype."""
        return dataclasses.replace(self, dtype=dtype)


@dataclasses.dataclass(frozen=True)
class Read:
    """An activation that several products read.

    Their gradients for it are added before they are summed over devices: one message.

    Args:
        name: the same for all its readers.
        once: whether there is one for all blocks, not one in each.
    """

    name: str
    once: bool = False


@dataclasses.dataclass(frozen=True)
class Product:
    """Two tensors make a third: `out = sum(left * right)` over what `out` lacks.

    Args:
        name: where in the model.
        left: first operand.
        right: second operand, a weight or another activation.
        out: the result.
        stored: what `right` is made from without arithmetic, where it is not itself:
            keys that several heads share, the weights behind blocks of rows.
        weight: whether `right` is a weight.
        matmul: whether this is a product of matrices; others (norms, look-ups) count
            no FLOPs but move bytes and gradients.
        left_gradient: whether the backward pass needs that of `left`.
        right_gradient: whether the backward pass needs that of `right`.
        left_read: what `left` is, if others read it too.
        right_read: the same of `right`.
        stored_as: dtype of the weight where the dtype policy does not choose it.
        looked_up: what travels if rows of `right` are looked up and not multiplied.
        useful: share of the FLOPs that real tokens need, as MFU counts them.
        in_block: whether it is computed again where blocks are rematerialized.
        times: how often the model has it.
    """

    name: str
    left: Tensor
    right: Tensor
    out: Tensor
    stored: Tensor | None = None
    weight: bool = False
    matmul: bool = True
    left_gradient: bool = True
    right_gradient: bool = True
    left_read: Read | None = None
    right_read: Read | None = None
    stored_as: str | None = None
    looked_up: Tensor | None = None
    useful: float = 1.0
    in_block: bool = True
    times: int = 1

    @property
    def as_stored(self) -> Tensor:
        """The second operand as it is stored."""
        return self.stored or self.right

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes by dimension of everything that takes part."""
        tensors = self.left, self.right, self.out
        return {d: n for t in tensors for d, n in zip(t.dims, t.shape, strict=True)}

    @property
    def flops(self) -> int:
        """Multiplications and additions of one forward pass."""
        return 2 * math.prod(self.sizes.values()) if self.matmul else 0

    @property
    def backward_flops(self) -> int:
        """The same of the gradients."""
        return self.flops * (self.left_gradient + self.right_gradient)


@dataclasses.dataclass(frozen=True)
class Transform:
    """An activation becomes another of its shape, by a Fourier transform.

    Args:
        name: where in the model.
        tensor: the activation.
        flops: of one forward pass; backwards it costs the same.
        in_block: whether it is computed again where blocks are rematerialized.
        times: how often the model has it.
    """

    name: str
    tensor: Tensor
    flops: int
    in_block: bool = True
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Move:
    """A tensor changes its layout: tokens go to their experts, or come back.

    Args:
        name: where in the model.
        before: the tensor with the dimensions that say its layout before.
        after: the same with those after.
        in_block: whether it happens again where blocks are rematerialized.
        times: how often the model has it.
    """

    name: str
    before: Tensor
    after: Tensor
    in_block: bool = True
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Saved:
    """An activation that the forward pass leaves for the backward pass.

    Args:
        name: where in the model.
        tensor: the activation.
        in_block: whether rematerialization frees it.
        times: how often the model has it.
    """

    name: str
    tensor: Tensor
    in_block: bool = True
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Step:
    """Everything of one training step that costs arithmetic, memory or messages.

    Args:
        operations: `Product`s, `Transform`s and `Move`s, in the order of the model.
        saved: what is kept for the backward pass.
        remat: whether blocks are rematerialized.
    """

    operations: tuple[Product | Transform | Move, ...]
    saved: tuple[Saved, ...]
    remat: bool = False

    def of(self, kind) -> list:
        """Returns the operations of a class."""
        return [each for each in self.operations if isinstance(each, kind)]
