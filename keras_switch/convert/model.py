"""From a config to a model that waits for weights, and what an import gives."""

import dataclasses

from keras_switch import models
from keras_switch.convert.engine import Report, fill, plan, size_of
from keras_switch.convert.errors import ConversionError
from keras_switch.models.config import ENCODER_DECODER


@dataclasses.dataclass(frozen=True)
class Imported:
    """A model from elsewhere.

    Args:
        model: `SwitchSeq2SeqLM`.
        report: what was loaded, with the sums of every expert; `None` if nothing was.
        notes: what could not be translated exactly.
    """

    model: models.SwitchSeq2SeqLM
    report: Report | None
    notes: tuple[str, ...] = ()


def build(config, dtype=None, tokenizer=None) -> models.SwitchSeq2SeqLM:
    """Returns a model with fresh weights.

    Args:
        config: `ModelConfig` of an encoder-decoder.
        dtype: dtype policy.
        tokenizer: `SwitchTokenizer`; `None` for a model of token ids.
    """
    preprocessor = None
    if tokenizer is not None:
        preprocessor = models.SwitchSeq2SeqLMPreprocessor(tokenizer)
    backbone = models.SwitchBackbone(config, dtype=dtype)
    return models.SwitchSeq2SeqLM(backbone, preprocessor)


def imported(config, source, table, dtype=None, tokenizer=None, progress=None):
    """Returns the `Imported` model of a config, its weights read from a source.

    Every name and shape is compared before anything is allocated.

    Args:
        config: see `build`.
        source: `Source`.
        table: names of its format.
        dtype: see `build`.
        tokenizer: see `build`.
        progress: function of a number of bytes and a label that returns what takes the
            bytes and the path of each weight.

    Raises:
        ConversionError: if anything is missing, left over or damaged.
    """
    matches = plan(models.count(config, dtype).weights, source, table)
    model = build(config, dtype, tokenizer)
    if progress is not None:
        total = sum(size_of(variable) for variable in model.weights)
        progress = progress(total, f"Reading {source.name}")
    return Imported(model, fill(model.weights, matches, source, progress))


def check_architecture(model):
    """Raises `ConversionError` unless the model is an encoder-decoder."""
    backbone = getattr(model, "backbone", None)
    config = getattr(backbone, "config", None)
    if getattr(config, "architecture", None) != ENCODER_DECODER:
        raise ConversionError(
            f"{type(model).__name__} is no SwitchSeq2SeqLM: only encoder-decoders are "
            "written in the formats of others."
        )
