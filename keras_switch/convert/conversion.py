"""From any format to any that the other side can read."""

import dataclasses
import functools
import os
import pathlib

from keras_switch.convert import (
    hf_tokenizer,
    hugging_face,
    mesh_tensorflow,
    preset,
    t5x,
)
from keras_switch.convert.errors import ConversionError
from keras_switch.convert.hf_files import SCHEME
from keras_switch.convert.model import Imported
from keras_switch.convert.targets import check_free, new_folder
from keras_switch.models import SwitchTokenizer
from keras_switch.partitioning.mistakes import nearest

PRESET, HUGGING_FACE, T5X = "preset", "hugging_face", "t5x"
TARGETS = (PRESET, HUGGING_FACE, T5X)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A SentencePiece model for checkpoints that come without one.

    Args:
        path: the file.
        num_sentinels: sentinels to add behind its pieces; T5's has 100 that
            are not in the file.
    """

    path: str
    num_sentinels: int = 100

    def tokenizer(self) -> SwitchTokenizer:
        """Returns the tokenizer."""
        path = pathlib.Path(self.path)
        if not path.is_file():
            raise ConversionError(f"The vocabulary {self.path} is not there.")
        return hf_tokenizer.tokenizer(path, self.num_sentinels)


def read(
    source: str, dtype=None, progress=None, gin_config=None, vocabulary=None
) -> Imported:
    """Returns the model of a checkpoint, whatever its format.

    Args:
        source: `hf://organization/name`; or a folder: of Hugging Face, of T5X, of Mesh
            TensorFlow, or one that `save_to_preset` wrote.
        dtype: dtype policy.
        progress: see `hugging_face.read`.
        gin_config: config of a run of T5X or Mesh TensorFlow that is not beside the
            checkpoint.
        vocabulary: `Vocabulary` of a run of T5X or Mesh TensorFlow.

    Raises:
        ConversionError: if it is in no known format, damaged, or does not fit.
    """
    run = {"gin": gin_config, "tokenizer": vocabulary and vocabulary.tokenizer()}
    if preset.is_preset(source):
        return preset.read(source, dtype)
    if str(source).startswith(SCHEME) or hugging_face.is_hugging_face(source):
        return hugging_face.read(source, dtype, progress)
    if t5x.folder_of(source) is not None:
        return t5x.read(source, dtype, progress, **run)
    if mesh_tensorflow.prefix(source) is not None:
        return mesh_tensorflow.read(source, dtype, progress, **run)
    found = sorted(os.listdir(source))[:8] if os.path.isdir(source) else "nothing"
    raise ConversionError(
        f"{source} is in no known format: there is {found}. Give "
        "hf://organization/name, a folder with config.json (Hugging Face, or "
        "save_to_preset), with "
        "checkpoint_<steps> (T5X), or with model.ckpt-<steps>.index (Mesh TensorFlow)."
    )


def write(model, target, target_format: str = PRESET, progress=None) -> list[str]:
    """Writes a model; the folder is there whole or, after an error, not at all.

    Args:
        model: `SwitchSeq2SeqLM`; for a preset also `SwitchCausalLM`.
        target: a new folder.
        target_format: `"preset"` (KerasHub's), `"hugging_face"` or `"t5x"`.
        progress: see `hugging_face.read`.

    Returns:
        What the format cannot say of the model.

    Raises:
        ConversionError: if there is something at `target`, or the format has no
            counterpart of a part of the model.
    """
    check_target(target, target_format)
    if progress is not None:  # it is written beside the target, under another name
        progress = functools.partial(_labelled, progress, f"Writing {target}")
    with new_folder(target) as folder:
        if target_format == HUGGING_FACE:
            return hugging_face.write(model, folder, progress=progress)
        if target_format == T5X:
            return t5x.write(model, folder, progress=progress)
        preset.write(model, folder)
        return []


def _labelled(progress, label, total, _):
    return progress(total, label)


def check_target(target, target_format: str):
    """Raises `ConversionError` if a target cannot be written."""
    if target_format not in TARGETS:
        raise ConversionError(
            f"There is no format {target_format!r} to write: take one of "
            f"{', '.join(TARGETS)}; nearest is {nearest(target_format, TARGETS)}."
        )
    check_free(target)
