"""From a config to a language model with its task class."""

import contextlib

import keras

from keras_switch import models


def language_model(config: models.ModelConfig, dtype: str = "float32", mesh=None):
    """Returns the model of a config, with logits: what a run trains.

    Args:
        config: what it is.
        dtype: dtype policy, such as `"mixed_bfloat16"`.
        mesh: `Mesh` to make it on; `None`: one device.

    Raises:
        ValueError: if the config has no decoder, or there is no such policy.
    """
    classes = {
        c.architecture: c for c in (models.SwitchSeq2SeqLM, models.SwitchCausalLM)
    }
    if config.architecture not in classes:
        raise ValueError(
            f"A run trains {' or '.join(classes)} models, not {config.architecture}: "
            "set ModelConfig.architecture, or build a SwitchBackbone in Python."
        )
    with mesh or contextlib.nullcontext():
        backbone = models.SwitchBackbone(config, dtype=_policy(dtype))
        return classes[config.architecture](backbone)


def _policy(dtype):
    try:
        return keras.dtype_policies.get(dtype)
    except ValueError as error:
        raise ValueError(
            f"There is no dtype policy {dtype!r}: take 'float32', 'mixed_bfloat16', "
            "'bfloat16' or 'mixed_float16'."
        ) from error
