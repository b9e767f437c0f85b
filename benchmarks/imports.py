"""Seconds that `import keras_switch` adds to `import keras_hub`, in fresh processes."""

import argparse
import os
import subprocess
import sys
import time

from benchmarks import common, report

LIMIT = 1.0


def main(argv=None):
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args(argv)
    cases = [_case("keras_hub"), _case("keras_hub, keras_switch")]
    timings = common.compare(cases, args.rounds)
    out = report.Report("imports", "Time to import")
    out.table("Seconds", *report.times(timings))
    hub, both = timings.values()
    added = sorted(both.seconds[i] - hub.seconds[i] for i in hub.seconds)
    middle = added[len(added) // 2]
    verdict = "yes" if middle < LIMIT else "NO"
    out.lines([f"keras_switch adds {middle:.2f} s (under {LIMIT} s: {verdict})"])


def _case(modules):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", f"import {modules}"]

    def run(i):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, capture_output=True)
        return time.perf_counter() - start

    return common.Case(f"import {modules}", run)


if __name__ == "__main__":
    main()
