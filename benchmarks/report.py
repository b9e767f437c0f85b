"""Tables: printed, as Markdown, and the numbers behind them as JSON."""

import json
import pathlib
import time

from benchmarks import common

FOLDER = pathlib.Path("bench-results")


class Report:
    """Collects the tables of one benchmark; writes them after each, so none is lost.

    Args:
        name: of the files in `bench-results/`.
        title: the heading.
    """

    def __init__(self, name, title):
        self.name = name
        self.title = title
        self.machine = common.machine()
        self.date = time.strftime("%Y-%m-%d %H:%M")
        self.numbers = {}
        self.parts = []
        print(f"# {title}\n{self.machine}\n", flush=True)

    def table(self, heading, columns, rows, numbers):
        """Adds and prints a table.

        Args:
            heading: what it shows.
            columns: names of the columns.
            rows: lists of strings, one per column.
            numbers: what JSON keeps of it.
        """
        text = f"## {heading}\n\n{_markdown(columns, rows)}\n"
        print(text, flush=True)
        self.parts.append(text)
        self.numbers[heading] = numbers
        self.write()

    def lines(self, lines):
        """Adds and prints lines of text."""
        text = "".join(f"- {line}\n" for line in lines)
        print(text, flush=True)
        self.parts.append(text)
        self.write()

    def write(self):
        """Writes `NAME.md` and `NAME.json`."""
        FOLDER.mkdir(exist_ok=True)
        head = f"# {self.title}\n\n{self.machine}; {self.date}\n"
        (FOLDER / f"{self.name}.md").write_text("\n".join([head, *self.parts]))
        whole = {"machine": self.machine, "date": self.date, "tables": self.numbers}
        text = json.dumps(whole, indent=1)
        (FOLDER / f"{self.name}.json").write_text(text + "\n")


def _markdown(columns, rows):
    table = [columns, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    lines = [
        " | ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    rule = " | ".join(
        "-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)
    )
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def times(timings, **bases):
    """Returns columns, rows and numbers of a table of timings.

    Args:
        timings: `{name: Timing}`.
        **bases: by column, a `Timing` whose multiples the column shows.
    """
    rows, numbers = [], {}
    for name, timing in timings.items():
        ratios = {column: timing.ratio(base) for column, base in bases.items()}
        cells = [f"{timing.median * 1e3:.0f}", f"{timing.spread:.0%}"]
        rows.append([name, *cells, *(f"{ratio:.2f}" for ratio in ratios.values())])
        numbers[name] = {
            "median_s": timing.median,
            "first_s": timing.first,
            "seconds": list(timing.seconds.values()),
            "ratios": ratios,
        }
    columns = ["", "ms", "spread", *(f"x {name}" for name in bases)]
    return columns, rows, numbers


def verdict(what, timing, base, limit):
    """Returns a line: a ratio, what it may be at most, and whether it is."""
    ratio = timing.ratio(base)
    word = "yes" if ratio <= limit else "NO"
    return f"{what}: {ratio:.2f} (at most {limit:.2f}): {word}"
