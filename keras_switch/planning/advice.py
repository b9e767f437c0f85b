"""What is wrong with a layout, and what is wasteful about it."""

from keras_switch.models.config import ModelConfig
from keras_switch.models.count import Count
from keras_switch.partitioning import LayoutRules, MeshShape
from keras_switch.planning.chips import Chip
from keras_switch.planning.collectives import ALL_GATHER, Collective, Layout
from keras_switch.planning.memory import Memory
from keras_switch.planning.operations import Product, Step, Tensor
from keras_switch.planning.timing import repeated

USUAL = LayoutRules.parse("batch:data,experts:data,d_ff:model,heads:model,vocab:model")
_MUCH = 0.1  # of the memory, or of the arithmetic
_PADDING = 0.3
_PARTS_OF_MODEL = {
    "attention": ("/mixer", "/cross"),
    "the dense MLPs": ("/mlp/w", "/extra/w"),
    "the experts": ("/experts/",),
    "the router": ("/router",),
    "the logits": ("/logits",),
}
_REMEDY = {
    "attention": "a rule for heads would share it out",
    "the logits": "a rule for vocab would share it out",
    "the router": "fewer devices along the axes that do not split the batch would "
    "repeat it less",
}


def usual_rules(mesh: MeshShape, count: Count) -> LayoutRules:
    """Returns the rules of the Switch paper's layouts, as far as they fit.

    Args:
        mesh: the mesh; its axes may be called `data` and `model`.
        count: the weights.
    """
    sizes = {}
    for weight in count.weights:
        for dim, size in zip(weight.dims, weight.shape, strict=True):
            sizes.setdefault(dim, set()).add(size)
    return LayoutRules(
        tuple(
            (dim, axis)
            for dim, axis in USUAL.pairs
            if axis in mesh.names
            and (dim in sizes or dim == "batch")
            and all(size % mesh.size(axis) == 0 for size in sizes.get(dim, ()))
        )
    )


def mistakes(layout: Layout, count: Count) -> tuple[str, ...]:
    """Returns everything that makes a layout impossible, once for equal weights."""
    kinds = {}
    for weight in count.weights:
        kind = weight.path.rpartition("/")[2], weight.shape, weight.dims
        kinds.setdefault(kind, (weight.path, weight.shape, weight.dims))
    try:
        layout.rules.check(layout.mesh, kinds.values())
    except ValueError as error:
        return tuple(str(error).split("\n- ")[1:])
    return ()


def warnings(
    config: ModelConfig,
    count: Count,
    step: Step,
    layout: Layout,
    messages: tuple[Collective, ...],
    memory: Memory,
    chip: Chip,
) -> tuple[str, ...]:
    """Returns everything that a layout wastes, each with what to do about it."""
    return (
        *_too_large(memory, chip, config),
        *_unused_axes(layout, count, step),
        *_few_experts(config, layout),
        *_undivided_batch(step, layout),
        *_whole_weights(count, layout),
        *_repeated_work(step, layout),
        *_padding(step),
        *_gathered_tokens(messages),
    )


def _too_large(memory, chip, config):
    if memory.total > chip.memory:
        need, have = gigabytes(memory.total), gigabytes(chip.memory)
        remedy = "more devices, a smaller batch"
        if not config.remat and memory.with_remat < memory.activations:
            saved = gigabytes(memory.activations - memory.with_remat)
            remedy += f", or ModelConfig.remat=True, which saves {saved}"
        yield f"{need} do not fit the {have} of a {chip.name}: take {remedy}"


def _unused_axes(layout, count, step):
    tensors = [Tensor(w.dims, w.shape, w.dtype) for w in count.weights]
    tensors += [op.out for op in step.of(Product)]
    used = {axis for t in tensors for axis in layout.axes(t).values()}
    for name, size in layout.mesh.axes:
        if size > 1 and name not in used:
            yield (
                f"nothing is split over {name!r}: its {size} devices all do the same; "
                f"give it a rule, such as batch:{name}"
            )


def _few_experts(config, layout):
    axis = layout.rules.axis_of("experts")
    if config.sparse and axis in layout.mesh.names:
        experts, size = config.sparse.num_experts, layout.mesh.size(axis)
        if experts < size:
            yield (
                f"{experts} experts over the {size} devices of {axis!r}: give experts "
                f"an axis of at most {experts}, or take at least {size} experts"
            )


def _undivided_batch(step, layout):
    axis = layout.rules.axis_of("batch")
    if axis not in layout.mesh.names:
        return
    size, seen = layout.mesh.size(axis), {}
    for op in step.of(Product):
        routed = "/router" in op.name
        if routed or op.name.endswith("embedding"):
            what = "routing groups" if routed else "sequences"
            seen[what, op.sizes["batch"]] = op.name.split("/")[0]
    for (what, number), stack in seen.items():
        if number % size:
            of = f" of the {stack}" if what == "routing groups" else ""
            yield (
                f"{number} {what}{of} cannot be split over {axis}:{size}, so every "
                "device has them all: take a batch and lengths that give a multiple "
                f"of {size}"
            )


def _whole_weights(count, layout):
    tensors = [Tensor(w.dims, w.shape, w.dtype) for w in count.weights]
    local = sum(map(layout.bytes, tensors))
    for name, size in layout.mesh.axes:
        whole = [t for t in tensors if name not in layout.axes(t).values()]
        could = {
            dim
            for t in whole
            for dim, n in zip(t.dims, t.shape, strict=True)
            if dim in ("d_ff", "d_model", "heads", "vocab", "experts")
            and n % size == 0
            and dim not in layout.axes(t)
        }
        held = sum(map(layout.bytes, whole))
        if size > 1 and could and held > _MUCH * local:
            yield (
                f"{gigabytes(held)} of the {gigabytes(local)} of weights on a device "
                f"are the same along {name!r}; a rule for "
                f"{' or '.join(sorted(could))} would split them"
            )


def _repeated_work(step, layout):
    products = [op for op in step.of(Product) if op.matmul]
    work = {op.name: op.flops * op.times * repeated(op, layout) for op in products}
    total = sum(work.values())
    for part, places in _PARTS_OF_MODEL.items():
        inside = [op for op in products if any(p in op.name for p in places)]
        inside = [op for op in inside if repeated(op, layout) > 1]
        done = sum(work[op.name] for op in inside)
        if inside and done > _MUCH * total:
            most = max(repeated(op, layout) for op in inside)
            remedy = _REMEDY.get(part, "a rule for d_ff would share it out")
            yield (
                f"{done / total:.0%} of the arithmetic is {part}, which {most} devices "
                f"compute alike; {remedy}"
            )


def _padding(step):
    rows = [op for op in step.of(Product) if "/experts/" in op.name]
    total = sum(op.flops * op.times for op in rows)
    if total:
        useful = sum(op.flops * op.times * op.useful for op in rows) / total
        if 1 - useful > _PADDING:
            yield (
                f"{1 - useful:.0%} of the experts' rows are empty: larger routing "
                "groups, a smaller capacity factor or a smaller minimum capacity would "
                "fill them"
            )


def _gathered_tokens(messages):
    moved = [m for m in messages if m.kind == ALL_GATHER and "/dispatch" in m.name]
    for axis in dict.fromkeys(message.axis for message in moved):
        yield (
            f"tokens reach the experts by all-gathers over {axis!r}, not all-to-alls: "
            f"split batch and experts over the same axis, into equal parts"
        )


def gigabytes(size: float) -> str:
    """Returns bytes as a reader would say them."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:,.0f} B"
