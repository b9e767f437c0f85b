"""What the demo found: numbers, a table, `results.json`."""

import json
import re
import statistics

from keras_switch.cli.table import table
from keras_switch.models.count import count
from keras_switch.training.paths import path_of

FILE = "results.json"
BARS = "▁▂▃▄▅▆▇█"


def results(configs, histories, data) -> dict:
    """Returns what there is to tell about the runs, as JSON has it.

    Args:
        configs: `ModelConfig` by name of the run, the dense one first.
        histories: `training.History` by name.
        data: the `DataConfig` of both.
    """
    positions = data.batch_size * sum(data.lengths.values())
    models = {
        name: _model(configs[name], history, positions)
        for name, history in histories.items()
    }
    dense, sparse = models.values()
    return {
        "task": data.task,
        "models": models,
        "margin": dense["loss"] - sparse["loss"],
        "steps_to_dense_loss": steps_until(sparse["curve"], dense["loss"]),
    }


def _model(config, history, positions):
    """Returns the numbers of one run; `positions` is tokens a step, both sides."""
    seconds = seconds_per_step(history)
    last = history.last("eval")
    weights = count(config)
    return {
        "steps": history.step,
        "loss": last["loss"],
        "perplexity": last["perplexity"],
        "accuracy": last["accuracy"],
        "dropped": last.get("dropped"),
        "parameters": weights.total,
        "active_parameters": weights.active,
        "seconds_per_step": seconds,
        "tokens_per_second": seconds and positions / seconds,
        "curve": list(zip(*history.curve("loss", "eval"), strict=True)),
        "train_curve": list(zip(*history.curve("cross_entropy"), strict=True)),
        "experts": experts_over_steps(history),
    }


def seconds_per_step(history):
    """Returns the median over the logs of a run, or `None` if nothing was timed."""
    rates = [
        record.values["tokens"] / steps / record.values["tokens_per_second"]
        for record, steps in _with_steps(history)
        if record.values.get("tokens_per_second")
    ]
    return statistics.median(rates) if rates else None


def _with_steps(history):
    """Yields the training records, each with the steps since the one before."""
    before = 0
    for record in history.records:
        if record.split == "train":
            yield record, record.step - before
            before = record.step


def experts_over_steps(history) -> dict:
    """Returns steps, loads `(step, expert)` by layer, and those on held-out text."""
    records = [r for r in history.records if r.split == "train" and r.experts]
    evaluations = [r for r in history.records if r.split == "eval" and r.experts]
    if not records or not evaluations:
        return {}
    return {
        "steps": [record.step for record in records],
        "load": {
            _short(layer): [record.experts[layer]["load"] for record in records]
            for layer in sorted(records[0].experts, key=_order)
        },
        "dropped": [record.values["dropped"] for record in records],
        "held_out": {
            _short(layer): evaluations[-1].experts[layer]
            for layer in sorted(evaluations[-1].experts, key=_order)
        },
    }


def steps_until(curve, loss):
    """Returns the step at which a curve of `(step, loss)` first reaches `loss`.

    Between two evaluations it is taken to be a straight line; `None` if never.
    """
    before = None
    for step, value in curve:
        if value <= loss:
            if before is None:
                return step
            last_step, last = before
            return round(
                last_step + (step - last_step) * (last - loss) / (last - value)
            )
        before = step, value
    return None


def text(results) -> str:
    """Returns the table, the loads, and one sentence, for a terminal."""
    models = results["models"]
    rows = [(name, *map(shown, models.values())) for name, shown in _ROWS.items()]
    parts = [table(rows, header=("", *models)), *_loads(models), _verdict(results)]
    return "\n\n".join(parts)


_ROWS = {
    "held-out loss": lambda m: f"{m['loss']:.3f}",
    "perplexity": lambda m: f"{m['perplexity']:.2f}",
    "next-token accuracy": lambda m: f"{m['accuracy']:.1%}",
    "steps": lambda m: f"{m['steps']:,}",
    "tokens per second": lambda m: _or_dash(m["tokens_per_second"], "{:,.0f}"),
    "ms per step": lambda m: _or_dash(m["seconds_per_step"], "{:.0f}", 1000),
    "active parameters": lambda m: f"{m['active_parameters']:,}",
    "total parameters": lambda m: f"{m['parameters']:,}",
    "tokens dropped": lambda m: _or_dash(m["dropped"], "{:.1%}"),
}


def _or_dash(value, form, factor=1):
    return "-" if value is None else form.format(value * factor)


def _loads(models):
    """Yields the held-out load of every expert, a layer a row."""
    for model in models.values():
        layers = model["experts"].get("held_out", {})
        rows = [
            (layer, _bars(use["load"]), *(f"{share:.0%}" for share in use["load"]))
            for layer, use in layers.items()
        ]
        if rows:
            experts = [str(e) for e in range(1, len(rows[0]) - 1)]
            yield table(rows, header=("share of tokens by expert", "", *experts))


def _bars(shares):
    """Returns a bar per expert: half a line is an even share."""
    most = len(BARS) - 1
    heights = (round(share * len(shares) / 2 * most) for share in shares)
    return "".join(BARS[min(height, most)] for height in heights)


def _verdict(results):
    (dense, first), (sparse, second) = results["models"].items()
    sooner = results["steps_to_dense_loss"]
    if results["margin"] <= 0:
        return f"{sparse} did not beat {dense}: {second['loss']:.3f}."
    return (
        f"At equal steps {sparse} is {results['margin']:.3f} nats a token better; it "
        f"reached {dense}'s final loss after {sooner:,} of {first['steps']:,} steps."
    )


def write(results, folder) -> list:
    """Writes `results.json`; returns its path in a list."""
    file = path_of(folder) / FILE
    file.write_text(json.dumps(results, indent=2) + "\n")
    return [file]


def _short(layer):
    """Returns `encoder 1` for a path such as `.../encoder/block_1/...`."""
    parts = layer.split("/")
    blocks = [i for i, part in enumerate(parts) if re.fullmatch(r"block_\d+", part)]
    if not blocks or not blocks[0]:
        return layer
    stack, block = parts[blocks[0] - 1 : blocks[0] + 1]
    return f"{stack} {block.removeprefix('block_')}"


def _order(layer):
    """Sorts layers as data runs through them: the encoder comes first."""
    stack, _, block = _short(layer).partition(" ")
    return stack != "encoder", stack, int(block) if block.isdigit() else 0
