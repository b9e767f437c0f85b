"""The picture of the demo: loss of both models, load of every expert over the steps."""

import io

from keras_switch.training.paths import path_of

FILE = "demo.png"
DENSE_COLOUR, SPARSE_COLOUR, GREY = "#4878a8", "#d1603d", "#5a5a5a"
STYLE = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def draw(results, folder) -> list:
    """Draws what `demo_report.results` gave.

    Returns:
        The path of the picture in a list; an empty one, after a hint, without
        matplotlib.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        print("For the picture: pip install 'keras-switch[plot]'")
        return []
    with rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5.6), dpi=130, layout="constrained")
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
        _losses(left.subplots(), results)
        _loads(right, results)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
    file = path_of(folder) / FILE
    file.write_bytes(picture.getvalue())
    return [file]


def _losses(axes, results):
    """Draws the curves of both models, and how early the second is as good."""
    dense, sparse = results["models"].items()
    lower = results["margin"] < 0
    _curve(axes, *dense, DENSE_COLOUR, above=not lower)
    _curve(axes, *sparse, SPARSE_COLOUR, above=lower)
    _meeting(axes, results, dense[1]["curve"][-1])
    held_out = [loss for _, m in (dense, sparse) for _, loss in m["curve"]]
    room = 0.1 * (max(held_out) - min(held_out)) + 0.05
    axes.set_ylim(min(held_out) - room, max(held_out) + room)
    axes.set_xlim(0)
    axes.set_xlabel("steps")
    axes.set_ylabel("loss, nats per token")
    axes.set_title("Held-out loss (pale: training)", loc="left", color=GREY)
    axes.grid(axis="y", alpha=0.25)


def _curve(axes, name, model, colour, above):
    axes.plot(*zip(*model["train_curve"], strict=True), color=colour, alpha=0.25)
    steps, losses = zip(*model["curve"], strict=True)
    axes.plot(steps, losses, color=colour, marker="o", markersize=4, linewidth=2)
    axes.annotate(
        f"{name}  {losses[-1]:.3f}",
        (steps[-1], losses[-1]),
        xytext=(8, 2 if above else -2),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
        va="bottom" if above else "top",
        annotation_clip=False,
    )


def _meeting(axes, results, end):
    """Draws a line from the dense end back to where the sparse one was there."""
    sooner, (steps, loss) = results["steps_to_dense_loss"], end
    if sooner is None or sooner >= steps:
        return
    axes.plot([sooner, steps], [loss, loss], color=GREY, linestyle=":", linewidth=1.2)
    axes.annotate(
        f"{sooner:,} steps",
        (sooner, loss),
        xytext=(0, -6),
        textcoords="offset points",
        color=GREY,
        ha="right",
        va="top",
    )


def _loads(figure, results):
    """Draws a strip per sparse layer: steps to the right, experts upwards."""
    (experts,) = [m["experts"] for m in results["models"].values() if m["experts"]]
    strips = figure.subplots(len(experts["load"]), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (layer, loads) in zip(strips, experts["load"].items(), strict=True):
        num_experts = len(loads[0])
        image = axes.imshow(
            _transposed(loads, num_experts),
            aspect="auto",
            origin="lower",
            cmap="RdBu_r",
            vmin=0,
            vmax=2,
            extent=(0, experts["steps"][-1], 0.5, num_experts + 0.5),
            interpolation="nearest",
        )
        axes.set_ylabel(layer, color=GREY)
        axes.set_yticks([1, num_experts])
    strips[0].set_title("Load of every expert, by layer", loc="left", color=GREY)
    strips[-1].set_xlabel("steps")
    bar = figure.colorbar(image, ax=strips, ticks=[0, 1, 2], fraction=0.04, pad=0.02)
    bar.ax.set_yticklabels(["idle", "even", "twice"])
    bar.outline.set_visible(False)


def _transposed(loads, factor):
    """Returns `(step, expert)` as `(expert, step)`, times a factor."""
    experts = zip(*loads, strict=True)
    return [[share * factor for share in expert] for expert in experts]
