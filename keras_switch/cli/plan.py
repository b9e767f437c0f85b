"""`keras-switch plan`."""

import json as json_format
import pathlib

import keras

from keras_switch import planning
from keras_switch.models import ModelConfig


def plan(
    model: ModelConfig,
    mesh_shape: str,
    batch_size: int,
    layout_rules: str | None = None,
    lengths: dict[str, int] | None = None,
    chip: str = "tpu_v4",
    optimizer: keras.optimizers.Optimizer | None = None,
    dtype: str = "mixed_bfloat16",
    json: str | None = None,
):
    """Prints what a training step needs and how long it takes; allocates nothing.

    Args:
        model: what would be trained.
        mesh_shape: axes of the mesh, such as `"data:64,model:32"`.
        batch_size: sequences of a step over all devices.
        layout_rules: dimensions over axes, such as `"batch:data,d_ff:model"`. `None`:
            the Switch paper's, as far as they fit.
        lengths: tokens of a sequence by feature. `None`: 512 inputs and 114 targets;
            2,048 targets of a model without an encoder.
        chip: name of the accelerator.
        optimizer: how it would be trained; `None`: Adafactor.
        dtype: dtype policy.
        json: file to write the plan to as well; `"-"` prints JSON in place of the
            table.

    Returns:
        The `planning.Plan`.

    Raises:
        ValueError: if the layout is not possible, after the plan is printed.
    """
    batch = planning.Batch(batch_size, lengths)
    found = planning.plan(
        model, mesh_shape, layout_rules, batch, chip, optimizer, dtype
    )
    as_json = json_format.dumps(found.as_dict(), indent=2)
    print(as_json if json == "-" else f"\n{found}")
    if json not in (None, "-"):
        pathlib.Path(json).write_text(as_json + "\n")
    if found.mistakes:
        raise ValueError(
            f"The layout rules {str(found.rules)!r} do not fit the mesh "
            f"{str(found.mesh)!r}: see the {len(found.mistakes)} mistakes above."
        )
    return found
