"""Writing a SavedModel with everything a server wants beside it."""

import dataclasses
import pathlib

import tensorflow as tf

from keras_switch.convert.targets import check_free, new_folder
from keras_switch.export import deployment, warm_up
from keras_switch.export.int8 import Quality
from keras_switch.export.options import Serving
from keras_switch.export.signatures import signatures

ASSETS = "assets.extra"


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        folder: of this version.
        signatures: names of the signatures.
        bytes: of all files.
        command: line that serves it by Docker.
        quality: what fewer bits cost, `int8.Quality`; `None`: the weights are as
            trained.
    """

    folder: pathlib.Path
    signatures: tuple[str, ...]
    bytes: int
    command: str
    quality: Quality | None


def write(model, folder, options=None) -> Exported:
    """Writes a model for TF Serving: `NAME/VERSION`, as in `served/switch/1`.

    The folder is there whole or not at all. Inputs and outputs are float32, int32 and
    string, whatever the precision of the model.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM`; of one on a mesh its copy on one
            device is written.
        folder: of the version, a new one whose name is a number.
        options: `Serving`.

    Raises:
        ValueError: if the folder is no version, or is there already, or the sampler
            cannot do what is asked of it.
    """
    folder, options = pathlib.Path(folder).absolute(), options or Serving()
    check_version(folder)
    if getattr(model, "mesh", None) is not None:
        model = model.off_mesh()
    functions, module = signatures(model, options)
    with new_folder(folder) as draft:
        tf.saved_model.save(
            module,
            str(draft),
            signatures=functions,
            options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
        )
        extra = draft / ASSETS
        extra.mkdir()
        deployment.write(extra, folder, options, functions)
        if options.warm_up:
            requests = warm_up.requests(folder.parent.name, functions, options)
            warm_up.write(extra, requests)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    names = tuple(sorted(functions))
    quality = options.weights.quality(model)
    return Exported(folder, names, size, deployment.command(folder), quality)


def check_version(folder):
    """Raises `ValueError` unless a new version can be written to a folder."""
    folder = pathlib.Path(folder)
    if not folder.name.isdecimal():
        raise ValueError(
            f"TF Serving loads folders whose names are versions, but the last part of "
            f"{str(folder)!r} is no number: give NAME/1, such as served/switch/1."
        )
    check_free(folder)
