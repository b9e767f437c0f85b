"""Models in Hugging Face's format, read and written."""

import json
import pathlib

from keras_switch import models
from keras_switch.convert import hf_config, hf_names, hf_tokenizer, safetensors_files
from keras_switch.convert.engine import dump, named
from keras_switch.convert.hf_files import CONFIG, Files, weights
from keras_switch.convert.model import Imported, build, check_architecture, imported
from keras_switch.convert.source import Tensor


def is_hugging_face(address) -> bool:
    """Returns whether a folder or repository is in Hugging Face's format."""
    path = Files(address).get(CONFIG)
    if path is None:
        return False
    try:
        values = json.loads(path.read_text())
    except ValueError:
        return True  # reading it will tell what is wrong
    return isinstance(values, dict) and "model_type" in values


def read(address, dtype=None, progress=None, load_weights=True) -> Imported:
    """Returns a model of Hugging Face's hub or of a folder in its format.

    Args:
        address: folder, or `hf://organization/name`, with `@revision` if it is not the
            newest.
        dtype: dtype policy.
        progress: function of a number of bytes and a label that returns what takes the
            bytes and the path of each weight, such as `Progress`.
        load_weights: whether to fill the weights; else they are fresh.

    Raises:
        ConversionError: if anything is missing, damaged, unknown or left over; nothing
            is loaded then.
    """
    files = Files(address)
    values = files.json(CONFIG, "a folder of Hugging Face's has one")
    hf_config.family(values, f"{address}/{CONFIG}")
    tokenizer = hf_tokenizer.read(files)
    sentinels = tokenizer.num_sentinels if tokenizer else 0
    config = hf_config.from_hugging_face(values, f"{address}/{CONFIG}", sentinels)
    if not load_weights:
        return Imported(build(config, dtype, tokenizer), None)
    return imported(config, weights(files), names(config), dtype, tokenizer, progress)


def names(config: models.ModelConfig):
    """Returns the table of names of a model's weights."""
    mlp = "mlp" if config.sparse else "DenseReluDense"
    return hf_names.table(mlp, config.tie_embeddings)


def write(model, folder, max_shard_bytes=5 * 10**9, progress=None) -> list[str]:
    """Writes a folder that `transformers` loads with no missing or unexpected key.

    Args:
        model: `SwitchSeq2SeqLM`.
        folder: an empty folder.
        max_shard_bytes: of a file of weights.
        progress: see `read`.

    Returns:
        What the format cannot say of the model.

    Raises:
        ConversionError: if `transformers` has no counterpart of a part of the model.
    """
    check_architecture(model)
    folder, config = pathlib.Path(folder), model.backbone.config
    values, notes = hf_config.to_hugging_face(config)
    table = _written_names(config)
    shapes = _shapes(config, table)
    total = sum(4 * _elements(tensor) for tensor in shapes.values())
    if progress is not None:
        progress = progress(total, f"Writing {folder}")
    safetensors_files.write(
        _as_float32(dump(model.weights, table)),
        folder,
        shapes,
        max_shard_bytes,
        progress,
    )
    hf_tokenizer.write(getattr(model.preprocessor, "tokenizer", None), folder)
    generation = {
        name: values[name]
        for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")
    }
    _write_json(folder / CONFIG, values)
    _write_json(folder / "generation_config.json", generation)
    return notes


def _written_names(config):
    """Returns the names to write: tied tables once, those of an untied model thrice."""
    table = names(config)
    copies = {hf_names.SHARED: hf_names.EMBEDDINGS}
    return table.copying({} if config.tie_embeddings else copies)


def _shapes(config, table):
    shapes = {}
    for match in named(models.count(config).weights, table):
        for name in match.names:
            shapes[name] = Tensor(match.tensor_shape(), "float32")
            for copy in table.copies.get(name, ()):
                shapes[copy] = shapes[name]
    return shapes


def _as_float32(tensors):
    return ((name, value.astype("float32", copy=False)) for name, value in tensors)


def _elements(tensor):
    size = 1
    for n in tensor.shape:
        size *= n
    return size


def _write_json(path, values):
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
