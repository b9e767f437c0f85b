"""`from_preset` for the table of built-in configs, folders, and others' formats."""

import os
from typing import ClassVar

from keras_switch.models import foreign
from keras_switch.models.presets import PRESETS
from keras_switch.models.presets import preset as built_in


class BuiltInPresets:
    """Mixin that teaches a KerasHub class the names in `presets.PRESETS`."""

    presets: ClassVar[dict] = {
        name: {
            "metadata": {"params": row.parameters, "description": row.source},
            "config": row.config,
        }
        for name, row in PRESETS.items()
    }

    @classmethod
    def from_preset(cls, preset, load_weights=None, **kwargs):
        """Returns an instance of a built-in config, a saved folder, or a foreign one.

        Args:
            preset: name in `presets`; a folder written by `save_to_preset`, or another
                address that KerasHub reads; or a T5, mT5 or Switch Transformer of
                Hugging Face: `"hf://google/switch-base-8"`, or a folder in its format.
            load_weights: `None` loads weights where there are some: a built-in config
                has none and starts with fresh ones. `True` insists, `False` makes fresh
                ones.
            **kwargs: further arguments of the constructor, such as `dtype`.

        Raises:
            ValueError: if the name is unknown, with the nearest names; or if weights of
                a built-in config are insisted on.
        """
        known = str(preset) in PRESETS
        if not known and "://" not in str(preset) and not os.path.isdir(preset):
            built_in(str(preset))
        if not known:
            load = load_weights is not False
            found = foreign.read(str(preset), kwargs.get("dtype"), load)
            if found is not None:
                kwargs.pop("dtype", None)
                return cls._from_foreign(*found, **kwargs)
            return super().from_preset(str(preset), load_weights=load, **kwargs)
        if load_weights:
            raise ValueError(
                f"The built-in preset {preset!r} is a config without weights. Leave "
                "load_weights out to start with fresh ones, or give a folder that "
                "save_to_preset wrote."
            )
        return cls._from_built_in(built_in(preset).config, **kwargs)

    @classmethod
    def _from_built_in(cls, config, **kwargs):
        return cls(config, **kwargs)

    @classmethod
    def _from_foreign(cls, backbone, preprocessor, **kwargs):
        if kwargs:
            raise ValueError(
                f"{cls.__name__}.from_preset got {sorted(kwargs)}: the config of a "
                "model of another library says all but `dtype`."
            )
        return backbone
