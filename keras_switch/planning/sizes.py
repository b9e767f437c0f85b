"""Sizes by dimension, so that a tensor is told by its names alone."""

import dataclasses

from keras_switch.models.config import ModelConfig
from keras_switch.planning.batch import Batch
from keras_switch.planning.operations import Product, Tensor


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Makes the tensors of one stack.

    Args:
        table: size by dimension.
        dtype: that of the arithmetic, `"bfloat16"` or `"float32"`.
        on_mesh: whether there is more than one device, which changes dispatch.
    """

    table: dict[str, int]
    dtype: str
    on_mesh: bool = False

    def tensor(self, *dims: str, dtype: str | None = None) -> Tensor:
        """Returns the tensor of these dimensions, by default in the compute dtype."""
        shape = tuple(self.table[dim] for dim in dims)
        return Tensor(dims, shape, dtype or self.dtype)

    def island(self, *dims: str) -> Tensor:
        """Returns the tensor of these dimensions in float32, whatever the policy."""
        return self.tensor(*dims, dtype="float32")

    def changed(self, **sizes: int) -> "Sizes":
        """Returns the same with some sizes changed."""
        return dataclasses.replace(self, table={**self.table, **sizes})

    def project(self, name, left, weight, out, **options) -> Product:
        """Returns the product of an activation with a weight; all as their dims."""
        tensors = (self.tensor(*dims) for dims in (left, weight, out))
        return Product(name, *tensors, weight=True, **options)


def sizes_of(
    config: ModelConfig, batch: Batch, stack: str, dtype: str, on_mesh: bool = False
) -> Sizes:
    """Returns the sizes in a stack of a model.

    Args:
        config: the model.
        batch: with lengths for all its stacks.
        stack: `"encoder"` or `"decoder"`.
        dtype: compute dtype.
        on_mesh: whether there is more than one device.
    """
    length = batch.length(stack)
    position = getattr(config.position, "num_buckets", 0)
    table = {
        "batch": batch.size,
        "length": length,
        "keys": length,
        "d_model": config.d_model,
        "d_ff": config.d_ff,
        "d_kv": config.d_kv,
        "heads": config.num_heads,
        "kv_heads": config.num_kv_heads or config.num_heads,
        "vocab": config.vocab_size,
        "buckets": position,
    }
    return Sizes(table, dtype, on_mesh)
