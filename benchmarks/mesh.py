"""Meshes: what they add to a step, to the first step, and what memory they share out.

Virtual CPU devices of one process. Each number but the steps' comes from a process of
its own: `python -m benchmarks.mesh --child first data:4,model:2`.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import json
import pathlib
import subprocess
import sys
import time

from benchmarks import common, report

RULES = "batch:data,experts:data,d_ff:model,heads:model,vocab:model"
MESHES = ("data:8", "data:4,model:2")
DEVICES = (1, 2, 4, 8)
STEP_LIMIT, FIRST_LIMIT = 1.05, 180.0
NONE = "none"


def main(argv=None):
    """Runs the benchmark, or one process of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "MESH"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("steps", "first", "memory"))
    args = parser.parse_args(argv)
    if args.child:
        what, mesh = args.child
        measure = {"first": _measure_first, "memory": _measure_memory}[what]
        print(json.dumps(measure(mesh)))
        return
    out = report.Report("mesh", "Training on meshes of virtual CPU devices")
    for name, run in (("steps", _steps), ("first", _first), ("memory", _memory)):
        if args.only in (None, name):
            run(out, args.rounds)


def _rules(mesh):
    """Returns the rules for the axes that a mesh has."""
    axes = [axis.split(":")[0] for axis in mesh.split(",")]
    return ",".join(rule for rule in RULES.split(",") if rule.split(":")[1] in axes)


def _on(mesh):
    """Returns a context in which models are made on a mesh, or on none."""
    import keras_switch as ks

    if mesh == NONE:
        return contextlib.nullcontext()
    return ks.Mesh(mesh, layout_rules=_rules(mesh))


def _case(name, mesh, config, shape, optimizer="adafactor"):
    from benchmarks import models

    with _on(mesh):
        return models.ours(name, config, shape, optimizer)


def _steps(out, rounds):
    """Compares a step on the mesh `data:1` with one without a mesh, in one process."""
    from benchmarks import models
    from keras_switch.models import preset

    cases = {
        "switch_tiny": (preset("switch_tiny").config, models.TINY),
        "Switch-Base-8 cut to 2 + 2 layers": (models.BASE_CONFIG, models.BASE),
    }
    for name, (config, shape) in cases.items():
        timings = common.compare(
            [_case(mesh, mesh, config, shape) for mesh in (NONE, "data:1")], rounds
        )
        alone, meshed = timings.values()
        out.table(f"{name}, Adafactor", *report.times(timings, none=alone))
        line = report.verdict("mesh data:1 to no mesh", meshed, alone, STEP_LIMIT)
        out.lines([line])


def _deep():
    """Returns Switch-Base-8 with all its 12 + 12 layers, narrow.

    The width changes no graph.
    """
    from keras_switch.models import preset

    return dataclasses.replace(
        preset("switch_base_8").config,
        vocab_size=128,
        d_model=16,
        d_ff=32,
        d_kv=4,
        num_heads=2,
    )


def _first(out, rounds):
    del rounds
    rows, numbers = [], {}
    for mesh in (NONE, *MESHES):
        found = numbers[mesh] = _child("first", mesh)
        names = "weights", "slots", "first", "later"
        rows.append([mesh, *(f"{found[name]:.1f}" for name in names)])
    columns = ["mesh", "weights s", "slots s", "first step s", "later step s"]
    out.table("Switch-Base-8, 12 + 12 layers, narrow", columns, rows, numbers)
    for mesh in MESHES:
        spent = numbers[mesh]["first"]
        word = "yes" if spent <= FIRST_LIMIT else "NO"
        out.lines(
            [f"first step on {mesh}: {spent:.0f} s (at most {FIRST_LIMIT:.0f}): {word}"]
        )


def _measure_first(mesh):
    """Returns seconds to make weights, to make slots, and of the first two steps."""
    from benchmarks import models

    config, marks = _deep(), []
    with _on(mesh):
        start = time.perf_counter()
        made, data = models.batch_of(config, models.Shape(8, 8, 8))
        marks.append(time.perf_counter())
        step = models.step_of(made, "adafactor")
        marks.append(time.perf_counter())
    for _ in range(2):
        float(step(data[0])["loss"])
        marks.append(time.perf_counter())
    names = "weights", "slots", "first", "later"
    starts = [start, *marks]
    pairs = zip(names, starts, marks, strict=False)
    return {name: end - begin for name, begin, end in pairs}


def _wide():
    """Returns a model whose activations weigh more than its weights, and its batch."""
    from benchmarks import models
    from keras_switch.models import preset

    config = dataclasses.replace(
        preset("switch_base_8").config,
        vocab_size=1024,
        d_model=256,
        d_ff=1024,
        d_kv=32,
        num_heads=8,
        num_layers=4,
        num_decoder_layers=4,
    )
    return config, models.Shape(64, 128, 32)


def _memory(out, rounds):
    del rounds
    rows, numbers = [], {}
    for number in DEVICES:
        mesh = f"data:{number}"
        found = numbers[mesh] = _child("memory", mesh)
        names = "held", "planned_held", "peak", "planned_peak"
        rows.append([mesh, *(f"{found[name] / 2**20:.1f}" for name in names)])
    columns = [
        "mesh",
        "weights and slots MiB",
        "as planned",
        "peak of a step MiB",
        "as planned",
    ]
    out.table("Memory of one device", columns, rows, numbers)
    one, most = (numbers[f"data:{n}"] for n in (DEVICES[0], DEVICES[-1]))
    out.lines(
        [
            f"peak of a device, {DEVICES[-1]} to 1: {most['peak'] / one['peak']:.2f}; "
            f"planned: {most['planned_peak'] / one['planned_peak']:.2f}"
        ]
    )


def _measure_memory(mesh):
    """Returns bytes on one device: weights and slots, and the most during a step.

    The peak is what the process takes above an empty one, shared by its devices.
    """
    from benchmarks import models
    from keras_switch import planning, training

    config, shape = _wide()
    devices = int(mesh.split(":")[1])
    with _on(mesh):
        _warm_up(models)
        ctypes.CDLL(None).malloc_trim(0)
        before = _status("VmRSS")
        made, data = models.batch_of(config, shape)
        step = models.step_of(made, "adafactor")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for triple in data[:2]:
        float(step(triple)["loss"])
    lengths = {"inputs": shape.inputs, "targets": shape.targets}
    plan = planning.plan(
        config,
        mesh,
        _rules(mesh),
        planning.Batch(shape.batch, lengths),
        optimizer=training.Adafactor(),
        precision="float32",
    )
    variables = [*made.trainable_variables, *step.optimizer.variables]
    return {
        "held": sum(map(_held, variables)),
        "planned_held": plan.memory.weights + plan.memory.slots,
        "peak": (_status("VmHWM") - before) / devices,
        "planned_peak": plan.memory.total,
    }


def _warm_up(models):
    """Runs a small model once, so that what the runtime takes is taken already."""
    made, data = models.batch_of(_deep(), models.Shape(8, 8, 8))
    float(models.step_of(made, "adafactor")(data[0])["loss"])


def _held(variable):
    from keras_switch.partitioning.explain import layout_of

    return layout_of(variable).bytes_per_device


def _status(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(f"{key}:")) * 1024


def _child(what, mesh):
    command = [sys.executable, "-m", "benchmarks.mesh", "--child", what, mesh]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what} on {mesh} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
