"""Models from Mesh TensorFlow's checkpoints."""

import pathlib

from keras_switch.convert import gin_text, mtf_names
from keras_switch.convert.errors import ConversionError
from keras_switch.convert.model import Imported, imported
from keras_switch.convert.mtf_config import from_mesh_tensorflow
from keras_switch.convert.tf_checkpoint import TensorFlowCheckpoint, newest

GIN = "operative_config.gin"


def prefix(address) -> pathlib.Path | None:
    """Returns the prefix of the newest checkpoint in a folder, or of a named one."""
    path = pathlib.Path(address)
    if path.is_dir():
        return newest(path)
    path = path.with_suffix("") if path.suffix == ".index" else path
    return path if pathlib.Path(f"{path}.index").is_file() else None


def read(address, dtype=None, progress=None, gin=None, tokenizer=None) -> Imported:
    """Returns the model of a checkpoint; slots of its optimizer are passed over.

    Args:
        address: folder with `model.ckpt-<steps>` files, of which the newest is taken,
            or the path of one without its ending.
        dtype: dtype policy.
        progress: see `hugging_face.read`.
        gin: operative config; `None` is `operative_config.gin` beside the checkpoint.
        tokenizer: `SwitchTokenizer` of its vocabulary, or `None`.

    Raises:
        ConversionError: if anything is missing, damaged, unknown or left over; nothing
            is loaded then.
    """
    path = prefix(address)
    if path is None:
        raise ConversionError(f"{address} holds no checkpoint of TensorFlow.")
    file = pathlib.Path(gin) if gin else path.parent / GIN
    if not file.is_file():
        raise ConversionError(
            f"{file} is missing: the weights do not show activation, capacity, groups "
            "and losses. Put the operative config of the run there, or name it "
            "(--gin_config)."
        )
    source = TensorFlowCheckpoint(path)
    layout = mtf_names.layout(source)
    sentinels = tokenizer.num_sentinels if tokenizer else 0
    config = from_mesh_tensorflow(gin_text.read(file), source, layout, sentinels)
    table = mtf_names.table(layout)
    return imported(config, source, table, dtype, tokenizer, progress)
