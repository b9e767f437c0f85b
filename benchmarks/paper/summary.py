"""Tables over seeds: mean, spread, and what a finding is about."""

import statistics

import matplotlib

from keras_switch.cli.demo_report import steps_until

matplotlib.use("Agg")


def losses(found):
    """Returns columns, rows and numbers of a table; see `Report.table`.

    Args:
        found: by case, by seed, what `runs.result` returns. The first case is what the
            others are compared with, seed by seed.
    """
    base, *_ = found.values()
    numbers = {name: _losses(runs, base) for name, runs in found.items()}
    columns = ["", "loss", "spread", "to first", "steps fewer", "dropped", "seeds"]
    forms = ("loss", ".3f"), ("spread", ".3f"), ("to first", "+.3f")
    forms += ("steps fewer", ".2f"), ("dropped", ".1%"), ("seeds", "d")
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
    """Returns means over seeds; spread is the standard deviation of the losses."""
    ended = {seed: run for seed, run in runs.items() if run["loss"] is not None}
    pairs = [
        (run, base[seed])
        for seed, run in ended.items()
        if base.get(seed, {}).get("loss") is not None
    ]
    fewer = [_times_fewer(run, other) for run, other in pairs]
    dropped = [run.get("dropped") for run in ended.values()]
    found = [run["loss"] for run in ended.values()]
    return {
        "losses": found,
        "loss": _mean(found),
        "spread": _spread(found),
        "to first": _mean([run["loss"] - other["loss"] for run, other in pairs]),
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


def plot(found, title, path):
    """Draws the mean curve of every case into a PNG."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    shown = {name: runs for name, runs in found.items() if _curves(runs)}
    colours = pyplot.get_cmap("viridis")
    for i, (name, runs) in enumerate(shown.items()):
        curves = _curves(runs)
        steps = [step for step, _ in curves[0]]
        means = [
            _mean([loss for _, loss in point]) for point in zip(*curves, strict=True)
        ]
        colour = "black" if i == 0 else colours(0.95 * i / len(shown))
        label = f"{name}  {means[-1]:.3f}, seeds: {len(curves)}"
        axes.plot(steps, means, label=label, color=colour, ls="--" if i == 0 else "-")
    axes.set(title=title, xlabel="steps", ylabel="held-out loss, nats a token")
    axes.grid(alpha=0.25)
    axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _curves(runs):
    return [run["curve"] for run in runs.values() if run.get("curve")]
