"""Peak memory of the sparse layer's step, beyond weights and their gradients.

Each number comes from a process of its own: `python -m benchmarks.memory --child 8`.
"""

import argparse
import ctypes
import json
import os
import pathlib
import subprocess
import sys

from benchmarks import common, report

TOKENS = 4096


def add(out, experts):
    """Adds the table to a `Report`."""
    rows, numbers = [], {}
    for num_experts in experts:
        found = _child(num_experts)
        plain = _child(num_experts, TF_ENABLE_ONEDNN_OPTS="0")
        numbers[num_experts] = {**found, "without_onednn": plain}
        cells = [found["weights"], found["peak"], found["peak_beyond"]]
        cells.append(plain["peak_beyond"])
        rows.append([str(num_experts), *(f"{x / 2**20:.0f}" for x in cells)])
    columns = [
        "experts",
        "weights MiB",
        "peak of a step MiB",
        "beyond twice the weights",
        "the same without oneDNN",
    ]
    out.table(f"Peak memory of gather, {TOKENS} tokens", columns, rows, numbers)


def _child(num_experts, **environment):
    command = [sys.executable, "-m", "benchmarks.memory", "--child", str(num_experts)]
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1])


def _measure(num_experts):
    """Returns bytes: of the weights, the peak of a step, and what it needs beyond them.

    The peak is above the imports; weights and gradients are in it.
    """
    from benchmarks import ours
    from keras_switch.dispatch import GatherDispatch

    before = common.status("VmRSS")
    point = ours.Point(TOKENS, num_experts)
    case = ours.Shared(point).case("gather", GatherDispatch())
    case.run(0)
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    for i in range(3):
        case.run(i)
    weights = 2 * num_experts * point.d_model * point.d_ff * 4
    peak = common.status("VmHWM") - before
    return {"weights": weights, "peak": peak, "peak_beyond": peak - 2 * weights}


def main():
    """Runs the benchmark, or one measurement of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", type=int)
    parser.add_argument("--experts", type=int, nargs="+", default=[8, 32, 128])
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_measure(args.child)))
    else:
        add(report.Report("memory", "Peak memory"), args.experts)


if __name__ == "__main__":
    main()
