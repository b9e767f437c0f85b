"""Mean and spread over seeds, and steps to the first case's loss."""

import statistics

import matplotlib

from keras_switch.cli.demo_report import steps_until

matplotlib.use("Agg")


def table(found):
    """Returns columns, rows and numbers of a table; see `Report.table`.

    Args:
        found: list of what `runs.result` returns, one a seed, by case. The first case
            is what the others are compared with, seed by seed.
    """
    base, *_ = found.values()
    numbers = {name: _numbers(runs, base) for name, runs in found.items()}
    columns = ["", "loss", "spread", "to first", "steps fewer", "dropped", "ms a step"]
    return columns, [[name, *_cells(n)] for name, n in numbers.items()], numbers


def _numbers(runs, base):
    """Returns means over seeds; spread is the standard deviation of the losses."""
    losses = [run["loss"] for run in runs]
    if None in losses:
        return {"diverged": losses.count(None), "seeds": len(losses)}
    pairs = list(zip(runs, base, strict=True))
    fewer = [_times_fewer(run, other) for run, other in pairs]
    dropped = [run["dropped"] for run in runs]
    return {
        "losses": losses,
        "loss": statistics.mean(losses),
        "spread": statistics.stdev(losses) if len(losses) > 1 else None,
        "to first": statistics.mean(r["loss"] - b["loss"] for r, b in pairs),
        "steps fewer": statistics.mean(fewer) if None not in fewer else None,
        "dropped": statistics.mean(dropped) if None not in dropped else None,
        "ms a step": 1e3 * statistics.mean(run["seconds_per_step"] for run in runs),
    }


def _times_fewer(run, base):
    """Returns by how much fewer steps a run needed for the base's last loss."""
    step = steps_until(run["curve"], base["loss"])
    return step and base["curve"][-1][0] / step


def _cells(numbers):
    if "diverged" in numbers:
        return [f"{numbers['diverged']} of {numbers['seeds']} diverged", *[""] * 5]
    forms = ("loss", ".3f"), ("spread", ".3f"), ("to first", "+.3f")
    forms += ("steps fewer", ".2f"), ("dropped", ".1%"), ("ms a step", ".0f")
    return [_cell(numbers[name], form) for name, form in forms]


def _cell(value, form):
    return "" if value is None else format(value, form)


def plot(found, title, path):
    """Draws the mean curve of every case into a PNG."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, runs in found.items():
        curves = [run["curve"] for run in runs if run["curve"]]
        if curves:
            steps = [step for step, _ in curves[0]]
            means = [statistics.mean(v) for v in zip(*_losses(curves), strict=True)]
            axes.plot(steps, means, label=name)
    axes.set(title=title, xlabel="steps", ylabel="held-out loss, nats a token")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _losses(curves):
    return [[loss for _, loss in curve] for curve in curves]
