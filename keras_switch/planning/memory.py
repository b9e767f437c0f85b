"""Bytes on one device: weights, optimizer slots, gradients, activations."""

import dataclasses
import math
import re

import numpy as np

from keras_switch.models.count import Count, without_values
from keras_switch.planning.collectives import Layout, gathered
from keras_switch.planning.operations import Product, Saved, Step, Tensor

_NO_SLOTS = ("iteration", "iterations", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Args:
        weights: as they are stored.
        slots: of the optimizer.
        gradients: of all weights, in the weights' dtype.
        copies: of the weights as products take them: in the compute dtype where that is
            another, and brought together where the layout is fully sharded.
        activations: kept for the backward pass.
        without_remat: the same if no block were rematerialized.
        with_remat: the same if all blocks were.
    """

    weights: int
    slots: int
    gradients: int
    copies: int
    activations: int
    without_remat: int
    with_remat: int

    @property
    def total(self) -> int:
        """Everything at the end of the forward pass and after the backward pass."""
        return (
            self.weights + self.slots + self.gradients + self.copies + self.activations
        )


def memory(count: Count, optimizer, step: Step, layout: Layout, stored: str) -> Memory:
    """Returns the bytes of a training step on each device.

    Args:
        count: the weights.
        optimizer: unbuilt Keras optimizer.
        step: from `walk`.
        layout: the mesh and its rules.
        stored: dtype in which the policy stores weights.
    """
    tensors = [Tensor(w.dims, w.shape, w.dtype) for w in count.weights]
    weights = sum(map(layout.bytes, tensors))
    kept = activations(step, layout, step.remat)
    return Memory(
        weights=weights,
        slots=sum(layout.bytes(slot) for slot in slots(count, optimizer)),
        gradients=weights,
        copies=copies(step, layout, stored),
        activations=kept,
        without_remat=activations(step, layout, False),
        with_remat=activations(step, layout, True),
    )


def copies(step: Step, layout: Layout, stored: str) -> int:
    """Returns the bytes of weights that products take otherwise than they are stored.

    Args:
        step: from `walk`.
        layout: the mesh and its rules.
        stored: dtype in which the policy stores weights.
    """
    total = 0
    for product in step.of(Product):
        gather = gathered(product, layout).values()
        tensor = product.as_stored
        cast = tensor.dtype != (product.stored_as or stored)
        if product.weight and not product.looked_up and (gather or cast):
            whole = math.prod(map(layout.mesh.size, gather))
            total += layout.bytes(tensor) * whole * product.times
    return total


def activations(step: Step, layout: Layout, remat: bool) -> int:
    """Returns the bytes of activations on each device at their peak.

    Args:
        step: from `walk`.
        layout: the mesh and its rules.
        remat: with it, blocks keep their inputs, and one block at a time the rest.
    """
    outside = sum(_bytes(s, layout) for s in step.saved if not s.in_block)
    inside = [s for s in step.saved if s.in_block]
    if not remat:
        return outside + sum(_bytes(saved, layout) for saved in inside)
    blocks = {}
    for saved in inside:
        blocks.setdefault(_block_of(saved.name), []).append(saved)
    inputs = sum(_input_bytes(kinds, layout) for kinds in blocks.values())
    once = [sum(layout.bytes(s.tensor) for s in kinds) for kinds in blocks.values()]
    return outside + inputs + max(once, default=0)


def slots(count: Count, optimizer) -> list[Tensor]:
    """Returns every slot of an optimizer, from the optimizer itself.

    One of each kind of weight is handed to it without values.

    Args:
        count: the weights.
        optimizer: unbuilt Keras optimizer; a copy is built.
    """
    known, found = {}, []
    for weight in count.weights:
        kind = re.sub(r"\d+", "", weight.path), weight.shape, weight.dtype
        if kind not in known:
            known[kind] = _slots_of(weight, optimizer)
        found += known[kind]
    return found


def _slots_of(weight, optimizer):
    own = type(optimizer).from_config(optimizer.get_config())
    with without_values():
        own.build([_StandIn(weight)])
    found = []
    for slot in own.variables:
        shape, dims = tuple(slot.shape), getattr(slot, "dims", None)
        if dims is None:  # Keras's own slots lie as their weights do
            dims = weight.dims if shape == weight.shape else ("",) * len(shape)
        if slot.name not in _NO_SLOTS:
            found.append(Tensor(dims, shape, slot.dtype))
    return found


class _StandIn:
    """What an optimizer looks at when it makes slots for a weight, and no values."""

    overwrite_with_gradient = False
    trainable = True

    def __init__(self, weight):
        self.shape, self.dtype, self.dims = weight.shape, weight.dtype, weight.dims
        self.path, self.name = weight.path, weight.path.rpartition("/")[2]
        self._unique_id = weight.path

    def __array__(self, dtype=None, copy=None):
        """Returns what TensorFlow may ask the device of."""
        return np.zeros((), dtype)


def _bytes(saved: Saved, layout):
    return layout.bytes(saved.tensor) * saved.times


def _block_of(name):
    return "/".join(name.split("/")[:2])


def _input_bytes(kinds, layout):
    """Returns the bytes of the inputs of all blocks of a kind."""
    stream = [s for s in kinds if s.name.endswith("/mixer_norm/input")]
    return sum(_bytes(saved, layout) for saved in stream)
