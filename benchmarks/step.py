"""Whole training steps: sparse against dense, and against Hugging Face's.

Each case also runs in a process of its own, for the time to its first step, of tracing,
and its peak memory: `python -m benchmarks.step --child switch_tiny`.
"""

import argparse
import json
import subprocess
import sys
import time

from benchmarks import common, report

TINY_LIMIT = 1.3


def main(argv=None):
    """Runs the benchmark, or one process of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-children", action="store_true")
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(_measure(args.child)))
        return
    out = report.Report("step", "One training step: forward, backward, optimizer")
    _tiny(out, args.rounds)
    _base(out, args.rounds)
    if not args.no_children:
        _children(out)


def _makers():
    from benchmarks import models
    from keras_switch.models import preset

    def tiny(name):
        return lambda: models.ours(name, preset(name).config, models.TINY, "adafactor")

    def base(make, name, optimizer):
        return lambda: make(name, models.BASE_CONFIG, models.BASE, optimizer)

    makers = {name: tiny(name) for name in TINY}
    for optimizer in ("adamw", "sgd"):
        for make, who in ((models.ours, OURS), (models.hugging_face, THEIRS)):
            name = f"{who}, {optimizer}"
            makers[name] = base(make, name, optimizer)
    return makers


TINY = ("t5_tiny", "switch_tiny")
OURS, THEIRS = "keras_switch", "Hugging Face (torch)"


def _tiny(out, rounds):
    from benchmarks import models

    makers = _makers()
    timings = common.compare([makers[name]() for name in TINY], rounds)
    dense, sparse = timings.values()
    shape = models.TINY
    lengths = f"lengths {shape.inputs} and {shape.targets}"
    heading = f"switch_tiny, batch {shape.batch}, {lengths}, Adafactor"
    out.table(heading, *report.times(timings, dense=dense))
    out.lines([report.verdict("switch_tiny to t5_tiny", sparse, dense, TINY_LIMIT)])


def _base(out, rounds):
    makers = _makers()
    for optimizer in ("adamw", "sgd"):
        names = [f"{who}, {optimizer}" for who in (OURS, THEIRS)]
        cases = common.attempt([makers[name] for name in names])
        timings = common.compare(cases, rounds)
        heading = f"Switch-Base-8 cut to 2 + 2 layers, 8 x (256 + 64), {optimizer}"
        first = timings[names[0]]
        out.table(heading, *report.times(timings, ours=first))
        if names[1] in timings:
            theirs = timings[names[1]]
            out.lines([report.verdict("ours to Hugging Face's", first, theirs, 1.0)])


def _children(out):
    rows, numbers = [], {}
    for name in _makers():
        command = [sys.executable, "-m", "benchmarks.step", "--child", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"  skipped {name}: {done.stderr.splitlines()[-1]}", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        numbers[name] = found
        times = [f"{found[key]:.1f}" for key in ("imports", "build", "first", "later")]
        rows.append([name, *times, f"{found['peak'] / 2**20:.0f}"])
    columns = [
        "",
        "imports s",
        "build s",
        "first step s",
        "later s",
        "peak MiB above imports",
    ]
    out.table("Fresh process: the first step includes tracing", columns, rows, numbers)


def _measure(name):
    """Returns seconds of the stages up to a later step, and peak bytes."""
    start = time.perf_counter()
    make = _makers()[name]
    imported, before = time.perf_counter(), common.status("VmHWM")
    case = make()
    built = time.perf_counter()
    case.run(0)
    stepped = time.perf_counter()
    case.run(1)
    later = time.perf_counter()
    return {
        "imports": imported - start,
        "build": built - imported,
        "first": stepped - built,
        "later": later - stepped,
        "peak": common.status("VmHWM") - before,
    }


if __name__ == "__main__":
    main()
