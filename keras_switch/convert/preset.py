"""KerasHub's own folders, read and written."""

import json
import pathlib

from keras_switch import models
from keras_switch.convert.errors import ConversionError
from keras_switch.convert.hf_files import CONFIG
from keras_switch.convert.model import Imported

_TASKS = {
    task.architecture: task for task in (models.SwitchSeq2SeqLM, models.SwitchCausalLM)
}


def is_preset(address) -> bool:
    """Returns whether a folder was written by `save_to_preset`."""
    return _architecture(address) is not None


def read(address, dtype=None) -> Imported:
    """Returns the language model of a folder that `save_to_preset` wrote.

    Raises:
        ConversionError: if it is no language model of this library, or damaged.
    """
    task = _TASKS.get(_architecture(address))
    if task is None:
        raise ConversionError(f"{address} holds no language model of keras_switch.")
    options = {} if dtype is None else {"dtype": dtype}
    try:
        return Imported(task.from_preset(str(address), **options), None)
    except OSError as error:
        raise ConversionError(
            f"The weights of {address} cannot be read ({error}): get it anew."
        ) from error
    except TypeError as error:  # Keras shows the whole config before the reason
        reason = str(error).rpartition("Exception encountered: ")[2].strip()
        raise ConversionError(
            f"The config of {address} cannot be read ({reason}): get it anew, or the "
            "version of keras_switch that wrote it."
        ) from error


def write(model, folder):
    """Writes a folder for `from_preset`."""
    model.save_to_preset(str(folder))


def _architecture(address):
    """Returns the architecture that a folder's config names, or `None`."""
    path = pathlib.Path(address) / CONFIG
    try:
        values = json.loads(path.read_text())
        registered = values["registered_name"] == "keras_switch>SwitchBackbone"
        config = values["config"]["config"]["config"]
        return config["architecture"] if registered else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
