"""A finished or running run, opened by its folder alone."""

import dataclasses
import json

import keras

from keras_switch import models
from keras_switch.training.checkpoint_folder import step_of
from keras_switch.training.checkpoints import Checkpoints
from keras_switch.training.paths import path_of
from keras_switch.training.saving import CheckpointError

NEWEST, BEST = "newest", "best"
_TASKS = {
    task.architecture: task for task in (models.SwitchSeq2SeqLM, models.SwitchCausalLM)
}


def is_run(folder) -> bool:
    """Returns whether a folder is that of a run of a language model."""
    return _saved(folder).get("class") == models.ModelConfig.__name__


def config_of(folder) -> models.ModelConfig:
    """Returns the `ModelConfig` that a run saved as `config.json`.

    Raises:
        CheckpointError: if there is none, or it holds what JSON cannot say.
    """
    if not is_run(folder):
        raise CheckpointError(
            f"{folder} is not the folder of a run: there is no config.json of a "
            "ModelConfig in it. Give the --model_dir of a run."
        )
    try:
        return _revived(_saved(folder))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"The config.json of {folder} cannot be read as a ModelConfig ({error}). "
            "Build the model in Python and restore it with `Checkpoints`."
        ) from error


def load_run(folder, checkpoint=NEWEST, dtype=None):
    """Returns the language model of a run with the weights of one of its checkpoints.

    Args:
        folder: the run's `model_dir`.
        checkpoint: `"newest"`, `"best"` (by the evaluations of the run), or the step of
            one that is kept.
        dtype: dtype policy; the weights' dtype must be that of the run.

    Returns:
        The model, and the step that it was saved at.

    Raises:
        CheckpointError: if there is no such run or checkpoint.
    """
    config = config_of(folder)
    model = _TASKS[config.architecture](models.SwitchBackbone(config, dtype=dtype))
    return model, restore(model, folder, checkpoint)


def restore(model, folder, checkpoint=NEWEST) -> int:
    """Gives a model the weights of a checkpoint of a run; returns its step."""
    checkpoints = Checkpoints(model, model_dir=folder)
    if checkpoint == BEST:
        return checkpoints.restore_best()
    kept = {str(step_of(path)): path for path in checkpoints.all}
    if checkpoint == NEWEST and kept:
        return checkpoints.restore()
    if str(checkpoint) not in kept:
        raise CheckpointError(
            f"There is no checkpoint {checkpoint!r} in {str(folder)!r}. Steps kept: "
            f"{', '.join(kept) or 'none'}; or say {NEWEST!r} or {BEST!r}."
        )
    return checkpoints.restore(kept[str(checkpoint)])


def steps_kept(folder) -> list[int]:
    """Returns the steps of the checkpoints that a run has kept, in order."""
    files = (path_of(folder) / "checkpoints").glob("ckpt-*.index")
    return sorted(step_of(file.with_suffix("")) for file in files)


def _saved(folder):
    file = path_of(folder) / "config.json"
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _revived(value):
    """Returns the object that `config_file.plain` made a dictionary of."""
    if isinstance(value, list):
        return tuple(map(_revived, value))
    if not isinstance(value, dict):
        return value
    values = {name: _revived(item) for name, item in value.items()}
    if "class" not in values:
        return values
    name = values.pop("class")
    found = keras.saving.get_registered_object(f"keras_switch>{name}")
    if found is None:
        raise ValueError(f"keras_switch has no {name}")
    # What a subclass has settled is a field, but no argument.
    settled = {f.name for f in dataclasses.fields(found) if not f.init}
    return found(**{name: v for name, v in values.items() if name not in settled})
