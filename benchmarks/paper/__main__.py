"""Trains what a finding compares, and writes what came out: a table and a plot.

python -m benchmarks.paper experts --seeds 3
"""

import argparse

from benchmarks import report
from benchmarks.paper import pretraining, summary
from benchmarks.paper.runs import result


def main(argv=None):
    """Runs the findings that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("findings", nargs="*", default=[*pretraining.FINDINGS])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    for name in args.findings:
        title, cases = pretraining.FINDINGS[name]
        out = report.Report(f"paper-{name}", title)
        found = {}
        for case in cases():
            found[case.name] = []
            for seed in range(args.seeds):
                found[case.name].append(result(name, case, seed))
                print(f"  {case.name}, seed {seed}: {found[case.name][-1]['loss']}")
        out.table("Held-out loss, nats a token", *summary.table(found))
        summary.plot(found, title, report.FOLDER / f"paper-{name}.png")


if __name__ == "__main__":
    main()
