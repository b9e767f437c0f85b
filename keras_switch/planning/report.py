"""A plan as text, for a terminal."""

import textwrap

from keras_switch.partitioning.table import aligned
from keras_switch.planning.advice import gigabytes
from keras_switch.planning.collectives import Collective

_WIDTH = 78


def text(plan) -> str:
    """Returns a `Plan` as aligned sections, its mistakes first."""
    sections = [
        _section("THIS LAYOUT IS NOT POSSIBLE", _bullets(plan.mistakes)),
        _section("Model and mesh", _model(plan)),
        _section(f"Memory of one device ({plan.chip.name})", _memory(plan)),
        _section("Messages of one step, per device", _messages(plan)),
        _section("Arithmetic and time of one step", _time(plan)),
        _section("Warnings", _bullets(plan.warnings)),
    ]
    return "\n\n".join(section for section in sections if section)


def summary(collectives) -> list[dict]:
    """Returns how often each kind of collective happens, and its bytes.

    Args:
        collectives: `Collective`s.

    Returns:
        One dictionary for each kind, axis and cargo, the heaviest first.
    """
    found = {}
    for each in collectives:
        key = each.kind, each.axis, _cargo(each)
        row = found.setdefault(key, {"times": 0, "bytes": 0, "sent": 0.0})
        row["times"] += each.times
        row["bytes"] += each.bytes * each.times
        row["sent"] += each.sent * each.times
    names = "kind", "axis", "cargo"
    rows = [{**dict(zip(names, k, strict=True)), **v} for k, v in found.items()]
    return sorted(rows, key=lambda row: -row["sent"])


def _cargo(each: Collective) -> str:
    if not each.weight:
        return "activations"
    return "weights" if each.kind == "all-gather" else "gradients"


def _section(title, lines):
    if not lines:
        return ""
    return "\n".join([title, "-" * _WIDTH, *lines])


def _bullets(sentences):
    return [
        textwrap.fill(sentence, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        for sentence in sentences
    ]


def _model(plan):
    lengths = " + ".join(f"{n:,} {name}" for name, n in plan.batch.lengths.items())
    rows = [
        ("parameters", f"{plan.parameters:,}"),
        ("  that a token meets", f"{plan.active_parameters:,}"),
        ("devices", f"{plan.devices:,} ({plan.mesh})"),
        ("layout", str(plan.rules) or "none: every device has everything"),
        ("batch", f"{plan.batch.size:,} sequences of {lengths} = "
         f"{plan.batch.tokens:,} tokens"),
        ("precision, optimizer", f"{plan.precision}, {plan.optimizer}"),
    ]  # fmt: skip
    return aligned(rows, left=2)


def _memory(plan):
    memory = plan.memory
    rows = [
        ("weights", memory.weights),
        ("optimizer slots", memory.slots),
        ("gradients", memory.gradients),
        ("weights cast or gathered", memory.copies),
        ("activations", memory.activations),
        ("total", memory.total),
    ]
    rows = [(n, gigabytes(b), f"{b / plan.chip.memory:.1%}") for n, b in rows]
    rows[4] = (f"activations{_remat(memory)}", *rows[4][1:])
    return aligned([*rows, ("of", gigabytes(plan.chip.memory), "")])


def _remat(memory):
    if memory.activations == memory.with_remat != memory.without_remat:
        return f" (without remat {gigabytes(memory.without_remat)})"
    return f" (with remat {gigabytes(memory.with_remat)})"


def _messages(plan):
    rows = [
        (
            row["kind"],
            f"of {row['cargo']}",
            f"over {row['axis']}",
            f"{row['times']:,} times",
            f"{gigabytes(row['bytes'])}",
        )
        for row in summary(plan.collectives)
    ]
    return aligned(rows, left=3) if rows else ["none"]


def _time(plan):
    time, work = plan.time, plan.flops
    rows = [
        ("FLOPs of a forward pass", _scaled(work.forward)),
        ("FLOPs of a training step", _scaled(work.step)),
        ("  on each device", _scaled(work.per_device)),
        ("products", _seconds(time.compute)),
        ("memory traffic", _seconds(time.memory)),
        ("messages", _seconds(time.network)),
        ("step, one after the other", _seconds(time.step)),
        ("step, all overlapped", _seconds(time.at_best)),
        ("tokens per second", f"{plan.tokens_per_second:,.0f}"),
        ("MFU at most", f"{plan.mfu:.1%}"),
    ]
    return aligned(rows)


def _scaled(number):
    for unit, factor in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if number >= factor:
            return f"{number / factor:,.2f} {unit}FLOP"
    return f"{number:,.0f} FLOP"


def _seconds(time):
    return f"{time:,.2f} s" if time >= 1 else f"{time * 1000:,.2f} ms"
