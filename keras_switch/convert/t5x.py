"""Models in T5X's format, read and written."""

import pathlib

import numpy as np

from keras_switch.convert import gin_text, t5x_files, t5x_names
from keras_switch.convert.engine import dump
from keras_switch.convert.errors import ConversionError, refuse
from keras_switch.convert.model import Imported, check_architecture, imported
from keras_switch.convert.source import Source, Tensor
from keras_switch.convert.t5x_config import from_t5x
from keras_switch.convert.t5x_files import T5XCheckpoint
from keras_switch.convert.t5x_gin import to_t5x
from keras_switch.convert.t5x_known import KNOWN

GINS = ("config.gin", "model.gin", "operative_config.gin")


def folder_of(address) -> pathlib.Path | None:
    """Returns the newest `checkpoint_<step>` of a folder, or `None`."""
    path = pathlib.Path(address)
    return t5x_files.newest(path) if path.is_dir() else None


def read(address, dtype=None, progress=None, gin=None, tokenizer=None) -> Imported:
    """Returns the model of a checkpoint; states of its optimizer are passed over.

    Args:
        address: folder of a run, whose newest checkpoint is taken, or one checkpoint.
        dtype: dtype policy.
        progress: see `hugging_face.read`.
        gin: config of the run; `None` looks for `config.gin` or `model.gin` beside the
            checkpoint.
        tokenizer: `SwitchTokenizer` of its vocabulary, or `None`.

    Raises:
        ConversionError: if anything is missing, damaged, unknown or left over; nothing
            is loaded then.
    """
    folder = folder_of(address)
    if folder is None:
        raise ConversionError(f"{address} holds no checkpoint of T5X.")
    file = pathlib.Path(gin) if gin else _gin_beside(folder)
    sentinels = tokenizer.num_sentinels if tokenizer else 0
    config = from_t5x(gin_text.read(file, KNOWN), sentinels)
    source = T5XCheckpoint(folder)
    table, copies = names(source)
    _check_biases(source, copies)
    source = _Without(source, copies)
    return imported(config, source, table, dtype, tokenizer, progress)


def names(source):
    """Returns the table of names of a checkpoint, and its repeated relative biases.

    Args:
        source: `Source`.
    """
    kinds = t5x_names.subblocks(source.tensors)
    inner = any("/subblock_" in name for name in source.tensors)
    biases = t5x_names.repeated_biases(kinds, inner)
    return t5x_names.table(kinds, inner), biases


class _Without(Source):
    """A source whose repeated relative biases are one tensor a stack: the first."""

    def __init__(self, source, biases):
        self.name, self._source = source.name, source
        self._axis = {names[0] for names in biases.values()} & set(source.tensors)
        hidden = {name for names in biases.values() for name in names[1:]}
        self.tensors = {
            name: tensor
            for name, tensor in source.tensors.items()
            if name not in hidden
        }
        for name in self._axis:
            heads, _, buckets = self.tensors[name].shape
            self.tensors[name] = Tensor((heads, buckets), self.tensors[name].dtype)

    def read(self, name, where=None):
        if name not in self._axis:
            return self._source.read(name, where)
        heads, buckets = where or (slice(None), slice(None))
        return self._source.read(name, (heads, slice(0, 1), buckets))[:, 0]


def _check_biases(source, biases):
    """Raises unless all relative biases of a stack are equal."""
    mistakes = []
    for stack, repeated in biases.items():
        found = [name for name in repeated if name in source.tensors]
        shapes = {name: source.tensors[name].shape for name in found}
        if any(len(shape) != 3 for shape in shapes.values()):
            mistakes.append(f"{shapes}: they need heads, layers and buckets")
            continue
        values = [source.read(name) for name in found]
        first = values[0][:, :1] if values else None
        if not all(np.array_equal(v, np.broadcast_to(first, v.shape)) for v in values):
            mistakes.append(
                f"the layers of the {stack} have different relative biases "
                f"({', '.join(repeated)}), but here a stack has one for all"
            )
    refuse(f"{source.name} does not fit this library's models", mistakes)


def _gin_beside(folder):
    for place in (folder, folder.parent):
        for name in GINS:
            if (place / name).is_file():
                return place / name
    raise ConversionError(
        f"{folder} has none of {', '.join(GINS)} in it or above it: the weights do not "
        "show heads, activation, capacity, groups and losses. Put the config of the "
        "run there, or name it (--gin_config)."
    )


def write(model, folder, step: int = 0, progress=None) -> list[str]:
    """Writes `checkpoint_<step>` with the weights alone, and a `model.gin`.

    Args:
        model: `SwitchSeq2SeqLM`.
        folder: an empty folder.
        step: number of the training step.
        progress: see `hugging_face.read`.

    Returns:
        What the format cannot say of the model.

    Raises:
        ConversionError: if T5X has no counterpart of a part of the model.
    """
    check_architecture(model)
    text, notes = to_t5x(model.backbone.config)
    table = t5x_names.table({"encoder": 0, "decoder": 0})
    tensors = dump(model.weights, table)
    checkpoint = pathlib.Path(folder) / f"checkpoint_{step}"
    checkpoint.mkdir()
    if progress is not None:
        progress = progress(model.count_params() * 4, f"Writing {folder}")
    values = ((name, value.astype("float32", copy=False)) for name, value in tensors)
    t5x_files.write(values, checkpoint, step, progress)
    (pathlib.Path(folder) / "model.gin").write_text(text)
    return notes
