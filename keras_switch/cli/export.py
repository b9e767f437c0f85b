"""`keras-switch export`."""

import keras
from keras_hub.samplers import Sampler

from keras_switch import export as exporting
from keras_switch.cli.table import table
from keras_switch.cli.trained import trained
from keras_switch.data.task_spec import TaskSpec
from keras_switch.export.saved_model import check_version


def export(
    output: str,
    source: str | None = None,
    model_dir: str | None = None,
    checkpoint: str | int = "newest",
    task: str | TaskSpec | None = None,
    dtype: str = "float32",
    sampler: str | Sampler = "greedy",
    input_lengths: list[int] | tuple[int, ...] = (32, 64, 128, 256, 512),
    max_new_tokens: int = 64,
    max_batch_size: int = 32,
    weights: exporting.AsTrained | exporting.Int8 | None = None,
):
    """Writes a SavedModel for TF Serving; nothing is there after an error.

    Args:
        output: a new folder `NAME/VERSION`, such as `served/switch/1`.
        source: `hf://organization/name`, or a folder; see `convert`.
        model_dir: folder of a run, in place of `source`.
        checkpoint: of the run: `"newest"`, `"best"` or a step.
        task: SeqIO task whose vocabulary the run has; `None`: token ids alone.
        dtype: dtype policy; inputs and outputs are float32 whatever it is.
        sampler: `"greedy"`, another of KerasHub's that draws tokens, or
            `models.BeamSearch`.
        input_lengths: see `export.Serving`.
        max_new_tokens: tokens of an answer, at most.
        max_batch_size: inputs of a request.
        weights: `Int8()` for 8-bit integers; `None`: as trained.

    Returns:
        The `export.Exported`.

    Raises:
        ValueError: if there is no such model, or the output cannot be written.
    """
    check_version(output)
    options = exporting.Serving(
        sampler,
        tuple(input_lengths),
        max_new_tokens,
        max_batch_size=max_batch_size,
        weights=weights or exporting.AsTrained(),
    )
    keras.utils.set_random_seed(0)
    model = trained(source, model_dir, checkpoint, task, dtype)
    written = exporting.write(model, output, options)
    rows = [
        ("written to", str(written.folder)),
        ("megabytes", f"{written.bytes / 1e6:.1f}"),
        ("signatures", ", ".join(written.signatures)),
        *([("8-bit weights", str(written.quality))] if written.quality else []),
    ]
    print(f"\n{table(rows)}\n\n{written.command}")
    return written
