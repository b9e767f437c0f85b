"""`config.json` beside the checkpoints: what the model was, to be compared later."""

import dataclasses
import json
from collections.abc import Mapping

from keras_switch.training.paths import path_of
from keras_switch.training.saving import CheckpointError

_NAME = "config.json"


def plain(value):
    """Returns a value made of dictionaries, lists and scalars, as JSON has them.

    A part of a configuration becomes its fields and, under `class`, its name.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **plain(fields)}
    if hasattr(value, "get_config") and not isinstance(value, type):
        return {"class": type(value).__name__, **plain(value.get_config())}
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def write(model_dir, config):
    """Saves `config` unless it is None; the file is there whole or not at all."""
    if config is None:
        return
    file = path_of(model_dir) / _NAME
    text = json.dumps(plain(config), indent=2, sort_keys=True) + "\n"
    if file.exists() and file.read_text() == text:
        return
    draft = file.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(file)


def check(model_dir, config):
    """Raises CheckpointError if the saved configuration is another one.

    A field that did not exist when it was saved may now be None.

    Args:
        model_dir: folder of the run.
        config: of this run; nothing is compared if it is None or none was saved.
    """
    file = path_of(model_dir) / _NAME
    if config is None or not file.exists():
        return
    saved, wanted = _flat(json.loads(file.read_text())), _flat(plain(config))
    lines = [
        f"  {name}: {_shown(saved, name)} in the checkpoint, "
        f"{_shown(wanted, name)} in this run"
        for name in sorted(saved.keys() | wanted.keys())
        if saved.get(name) != wanted.get(name)
    ]
    if lines:
        raise CheckpointError(
            f"The checkpoints in {model_dir} are of another configuration:\n"
            + "\n".join(lines)
            + "\nUse the configuration they were made with, or another model_dir."
        )


def _flat(value, name=""):
    """Returns the scalars of nested dictionaries and lists by dotted name."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {name: value}
    flat = {}
    for key, item in items:
        flat |= _flat(item, f"{name}.{key}" if name else str(key))
    return flat or {name: value}


def _shown(values, name):
    return repr(values[name]) if name in values else "absent"
