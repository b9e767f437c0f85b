"""Tables over seeds: mean, spread, and what a finding is about."""

import statistics

from keras_switch.cli.demo_report import steps_until


def losses(found):
    """Returns columns, rows and numbers of a table; see `Report.table`.

    Args:
        found: by case, by seed, what `runs.result` returns. The first case is what the
            others are compared with, seed by seed.
    """
    base, *_ = found.values()
    numbers = {name: _losses(runs, base) for name, runs in found.items()}
    columns = ["", "loss", "spread", "to first", "spread"]
    columns += ["steps fewer", "dropped", "seeds"]
    forms = ("loss", ".3f"), ("spread", ".3f"), ("to first", "+.3f")
    forms += ("to first spread", ".3f"), ("steps fewer", ".2f")
    forms += ("dropped", ".1%"), ("seeds", "d")
    return columns, [[name, *_cells(n, forms)] for name, n in numbers.items()], numbers


def shares(found):
    """Returns the same with the share of the teacher's gain that a student keeps.

    Args:
        found: as `losses` takes it; the first case is the dense model, the second the
            teacher.
    """
    base, teacher, *_ = found.values()
    numbers = {name: _losses(runs, base) for name, runs in found.items()}
    for name, runs in found.items():
        gains = [
            (base[seed]["loss"] - run["loss"])
            / (base[seed]["loss"] - teacher[seed]["loss"])
            for seed, run in runs.items()
            if seed in base and seed in teacher
        ]
        numbers[name] |= {"kept": _mean(gains), "kept spread": _spread(gains)}
    columns = ["", "loss", "spread", "gain kept", "spread", "seeds"]
    forms = ("loss", ".3f"), ("spread", ".3f"), ("kept", ".0%")
    forms += ("kept spread", ".0%"), ("seeds", "d")
    return columns, [[name, *_cells(n, forms)] for name, n in numbers.items()], numbers


def accuracies(found):
    """Returns the same of runs that end in an `accuracy`, in percent."""
    numbers = {}
    for name, runs in found.items():
        right = [100 * run["accuracy"] for run in runs.values()]
        numbers[name] = {
            "accuracies": right,
            "accuracy": _mean(right),
            "spread": _spread(right),
            "seeds": len(runs),
        }
    columns = ["", "accuracy, %", "spread", "seeds"]
    forms = ("accuracy", ".1f"), ("spread", ".1f"), ("seeds", "d")
    return columns, [[name, *_cells(n, forms)] for name, n in numbers.items()], numbers


def _losses(runs, base):
    """Returns means over seeds; a spread is a standard deviation over them."""
    ended = {seed: run for seed, run in runs.items() if run["loss"] is not None}
    pairs = [
        (run, base[seed])
        for seed, run in ended.items()
        if base.get(seed, {}).get("loss") is not None
    ]
    differences = [run["loss"] - other["loss"] for run, other in pairs]
    fewer = [_times_fewer(run, other) for run, other in pairs]
    dropped = [run.get("dropped") for run in ended.values()]
    found = [run["loss"] for run in ended.values()]
    return {
        "losses": found,
        "loss": _mean(found),
        "spread": _spread(found),
        "to first": _mean(differences),
        "to first spread": _spread(differences),
        "steps fewer": _mean(fewer),
        "dropped": _mean(dropped),
        "seeds": len(runs),
        "diverged": len(runs) - len(ended),
    }


def _times_fewer(run, base):
    """Returns by how much fewer steps a run needed for the base's last loss."""
    step = steps_until(run["curve"], base["loss"])
    return step and base["curve"][-1][0] / step


def _mean(values):
    return statistics.mean(values) if values and None not in values else None


def _spread(values):
    return statistics.stdev(values) if len(values) > 1 else None


def _cells(numbers, forms):
    cells = [_cell(numbers[name], form) for name, form in forms]
    if numbers.get("diverged"):
        cells[-1] += f", {numbers['diverged']} diverged"
    return cells


def _cell(value, form):
    return "" if value is None else format(value, form)
