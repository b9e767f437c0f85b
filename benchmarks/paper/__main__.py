"""Trains what a finding compares, and writes what came out: a table and a plot.

python -m benchmarks.paper experts --seeds 3
"""

import argparse

from benchmarks import report
from benchmarks.paper import findings, timing
from benchmarks.paper.runs import known, result


def main(argv=None):
    """Runs the findings that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("findings", nargs="*", default=[*findings.FINDINGS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="names of cases to train")
    parser.add_argument(
        "--known", action="store_true", help="train nothing, write what is known"
    )
    parser.add_argument(
        "--times", action="store_true", help="time steps instead, on a quiet machine"
    )
    args = parser.parse_args(argv)
    for name in args.findings:
        finding = findings.FINDINGS[name]
        if args.times:
            timing.write(name, finding)
            continue
        if not args.known:
            _train(finding, args.seeds, args.only)
        _write(name, finding, args.seeds)


def _train(finding, seeds, only):
    for seed in range(seeds):
        for folder, case in finding.runs():
            if only is None or case.name in only:
                found = result(folder, case, seed)
                told = found.get("accuracy", found["loss"])
                print(f"  {case.name}, seed {seed}: {told}", flush=True)


def _write(name, finding, seeds):
    """Writes the table, and the pictures, of the runs that have been made."""
    pairs = []
    for folder, case in finding.runs():
        runs = {seed: known(folder, case, seed) for seed in range(seeds)}
        runs = {seed: run for seed, run in runs.items() if run is not None}
        if runs:
            pairs.append((case, runs))
    if not pairs:
        return
    out = report.Report(f"paper-{name}", finding.title)
    out.table(
        finding.heading, *finding.table({case.name: runs for case, runs in pairs})
    )
    for plot in finding.plots:
        path = report.FOLDER / f"paper-{name}-{plot.__name__}.png"
        plot(pairs).savefig(path)


if __name__ == "__main__":
    main()
