"""How long a step takes if nothing is slower than the vendor says: a roofline."""

import dataclasses
import math

from keras_switch.planning.chips import Axis, Chip
from keras_switch.planning.collectives import Collective, Layout, gathered
from keras_switch.planning.memory import Memory
from keras_switch.planning.operations import Product, Step, Transform


@dataclasses.dataclass(frozen=True)
class Flops:
    """Multiplications and additions of matrix products and transforms.

    Args:
        forward: of one forward pass over the batch, padded experts' rows included.
        step: of a training step, recomputed blocks included.
        model: of a training step without what only the implementation needs (padding,
            one-hot dispatch, recomputation): what MFU counts.
        per_device: of a training step on one device; more than `step` shared out where
            devices repeat each other's work.
    """

    forward: int
    step: int
    model: float
    per_device: float


@dataclasses.dataclass(frozen=True)
class Time:
    """Seconds of one training step on each device.

    Args:
        compute: products at peak rate.
        memory: reading and writing operands, results, weights and slots.
        network: collectives, one after the other.
        step: each operation takes the longer of its compute and its memory time;
            collectives and the optimizer come on top.
        at_best: if the three overlapped perfectly.
    """

    compute: float
    memory: float
    network: float
    step: float
    at_best: float


def palm_flops_per_token(
    parameters: float, layers: int, heads: int, d_head: int, length: int
) -> float:
    """Returns the FLOPs that training on one token needs: `6 N + 12 L H Q T`.

    Source: PaLM, arXiv:2204.02311, appendix B.

    Args:
        parameters: N.
        layers: L.
        heads: H.
        d_head: Q.
        length: T, tokens of a sequence.
    """
    return 6 * parameters + 12 * layers * heads * d_head * length


def model_flops_utilization(
    tokens_per_second: float, flops_per_token: float, devices: int, peak: float
) -> float:
    """Returns MFU: the share of the peak rate that the model's own FLOPs take.

    Source: PaLM, arXiv:2204.02311, appendix B.

    Args:
        tokens_per_second: of all devices.
        flops_per_token: see `palm_flops_per_token`.
        devices: number of chips.
        peak: FLOPs a second of one chip.
    """
    return tokens_per_second * flops_per_token / (devices * peak)


def flops(step: Step, layout: Layout) -> Flops:
    """Returns the FLOPs of a step."""
    forward = train = model = local = 0
    for op in step.operations:
        if isinstance(op, Product | Transform):
            once = op.flops * op.times
            both = _passes(op, step) * op.flops * op.times
            backward = getattr(op, "backward_flops", op.flops) * op.times
            forward, train = forward + once, train + both
            model += (once + backward) * getattr(op, "useful", 1.0)
            local += both / _parts(op, layout)
    return Flops(forward, round(train), model, local)


def timing(
    step: Step,
    messages: tuple[Collective, ...],
    layout: Layout,
    chip: Chip,
    memory: Memory,
) -> Time:
    """Returns the time of a step on a chip.

    Args:
        step: from `walk`.
        messages: its collectives.
        layout: the mesh and its rules.
        chip: the accelerator.
        memory: bytes on each device.
    """
    compute = traffic = longer = 0.0
    for op in step.operations:
        if isinstance(op, Product | Transform):
            passes, times = _passes(op, step), op.times
            rate = chip.peak(_operand(op).dtype)
            busy = op.flops * passes * times / _parts(op, layout) / rate
            wait = _traffic(op, layout) * passes * times / chip.bandwidth
            compute, traffic = compute + busy, traffic + wait
            longer += max(busy, wait)
    # The optimizer reads and writes weights and slots, and reads gradients.
    update = 2 * (memory.weights + memory.slots) + memory.gradients
    update /= chip.bandwidth
    network = sum(seconds(each, layout, chip) for each in messages)
    traffic += update
    at_best = max(compute, traffic, network)
    return Time(compute, traffic, network, longer + update + network, at_best)


def seconds(message: Collective, layout: Layout, chip: Chip) -> float:
    """Returns how long a collective takes, all its times together."""
    names = layout.mesh.names
    after = names[names.index(message.axis) + 1 :]
    stride = math.prod(layout.mesh.size(name) for name in after)
    axis = Axis(message.size, stride, layout.mesh.num_devices)
    return message.times * chip.network.seconds(message.kind, message.sent, axis)


def repeated(op: Product | Transform, layout: Layout) -> int:
    """Returns on how many devices each part of an operation is computed again."""
    return layout.mesh.num_devices // _parts(op, layout)


def _passes(op, step):
    """Returns forward and backward passes in units of one forward pass."""
    again = step.remat and op.in_block
    if isinstance(op, Transform):
        return 2 + again
    return 1 + op.left_gradient + op.right_gradient + again


def _operand(op):
    return op.tensor if isinstance(op, Transform) else op.left


def _parts(op, layout):
    """Returns into how many parts the mesh divides an operation."""
    if isinstance(op, Transform):
        return layout.parts(op.tensor)
    gather = gathered(op, layout)
    own = {d: a for d, a in layout.axes(op.right).items() if d not in gather}
    axes = {*layout.axes(op.left).values(), *own.values()}
    axes |= set(layout.axes(op.out).values())
    return math.prod(layout.mesh.size(axis) for axis in axes)


def _traffic(op, layout):
    """Returns the bytes that one pass reads and writes."""
    if isinstance(op, Transform):
        return 2 * layout.bytes(op.tensor)
    if not op.matmul:  # a look-up reads as many rows as it writes
        return layout.bytes(op.left) + 2 * layout.bytes(op.out)
    gather = gathered(op, layout).values()
    right = layout.bytes(op.right) * math.prod(map(layout.mesh.size, gather))
    return layout.bytes(op.left) + right + layout.bytes(op.out)
