"""Pictures of findings.

Each function takes pairs, a `Case` and by seed what `runs.result` returns, and gives a
matplotlib figure.
"""

import contextlib
import statistics

import matplotlib
from matplotlib import rc_context
from matplotlib.figure import Figure

from keras_switch.cli.demo_plot import GREY, STYLE


def curves(pairs):
    """Returns the mean held-out loss of every case over the steps."""
    with _figure("steps", "held-out loss, nats a token") as (figure, axes):
        shown = [(case.name, _curves(runs)) for case, runs in pairs]
        shown = [(name, found) for name, found in shown if found]
        for i, (name, found) in enumerate(shown):
            steps = [step for step, _ in found[0]]
            losses = [
                statistics.mean(loss for _, loss in point)
                for point in zip(*found, strict=True)
            ]
            label = f"{name}  {losses[-1]:.3f}"
            axes.plot(steps, losses, label=label, **_look(i, len(shown)))
        axes.legend(frameon=False)
    return figure


def over_experts(pairs):
    """Returns the last loss over the number of experts; a dense model is a line."""
    with _figure("experts", "held-out loss, nats a token") as (figure, axes):
        points = {}
        for case, runs in pairs:
            losses = [run["loss"] for run in runs.values() if run["loss"] is not None]
            if case.model.sparse is None:
                mean = statistics.mean(losses)
                axes.axhline(mean, color="black", ls="--", label=case.name)
            else:
                points[case.model.sparse.num_experts] = losses
        _points(axes, points, "sparse", **_look(1, 2))
        axes.set_xscale("log", base=2)
        axes.set_xticks([*points], [*map(str, points)])
        axes.legend(frameon=False)
    return figure


def dropped(pairs):
    """Returns the share of dropped tokens over the capacity factor of training."""
    with _figure("capacity factor", "tokens dropped, %") as (figure, axes):
        lines = {}
        for case, runs in pairs:
            policy = case.model.sparse.routing
            line = lines.setdefault(policy.balance_loss_weight, {})
            line[policy.capacity.train] = [
                100 * run["dropped"]
                for run in runs.values()
                if run["dropped"] is not None
            ]
        for i, (weight, points) in enumerate(lines.items()):
            label = f"balance loss {weight:g}" if weight else "no balance loss"
            _points(axes, points, label, **_look(i + 1, len(lines) + 1))
        axes.set_ylim(0)
        axes.legend(frameon=False)
    return figure


@contextlib.contextmanager
def _figure(x, y):
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
        axes = figure.subplots()
        yield figure, axes
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.25, color=GREY)


def _points(axes, points, label, **look):
    """Draws means over seeds, with every seed as a dot."""
    points = dict(sorted((x, ys) for x, ys in points.items() if ys))
    means = [statistics.mean(ys) for ys in points.values()]
    axes.plot([*points], means, label=label, **look)
    for x, ys in points.items():
        axes.plot([x] * len(ys), ys, ".", color=look["color"], alpha=0.5)


def _look(i, number):
    """Returns colour and line of the i-th of so many; the first is the measure."""
    if i == 0:
        return {"color": "black", "ls": "--"}
    colours = matplotlib.colormaps["viridis"]
    return {"color": colours(0.8 * (i - 1) / max(number - 2, 1)), "ls": "-"}


def _curves(runs):
    return [run["curve"] for run in runs.values() if run.get("curve")]
