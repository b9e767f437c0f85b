"""`keras-switch export`."""

import keras

from keras_switch import export as exporting
from keras_switch.cli.table import table
from keras_switch.cli.trained import TrainedConfig
from keras_switch.export.saved_model import check_version


def export(
    model: TrainedConfig,
    output: str,
    serving: exporting.Serving = exporting.Serving(),  # noqa: B008  # frozen
):
    """Writes a SavedModel for TF Serving; nothing is there after an error.

    Args:
        model: what is exported; inputs and outputs are float32 whatever its dtype is.
        output: a new folder `NAME/VERSION`, such as `served/switch/1`.
        serving: how it answers.

    Returns:
        The `export.Exported`.

    Raises:
        ValueError: if there is no such model, or the output cannot be written.
    """
    check_version(output)
    keras.utils.set_random_seed(0)
    written = exporting.write(model.read(), output, serving)
    rows = [
        ("written to", str(written.folder)),
        ("megabytes", f"{written.bytes / 1e6:.1f}"),
        ("signatures", ", ".join(written.signatures)),
        *([("8-bit weights", str(written.quality))] if written.quality else []),
    ]
    print(f"\n{table(rows)}\n\n{written.command}")
    return written
