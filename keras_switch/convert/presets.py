"""`from_preset` for models in Hugging Face's format."""

import sys

from keras_switch.convert import hugging_face
from keras_switch.convert.hf_files import SCHEME
from keras_switch.convert.progress import Progress
from keras_switch.models import foreign


def from_preset(address: str, dtype, load_weights: bool):
    """Returns backbone and preprocessor of a model, or `None`; see `foreign`."""
    remote = address.startswith(SCHEME)
    if not remote and "://" in address:
        return None
    if not hugging_face.is_hugging_face(address):
        return None
    progress = Progress if sys.stderr.isatty() else None
    found = hugging_face.read(address, dtype, progress, load_weights)
    return found.model.backbone, found.model.preprocessor


foreign.add_reader(from_preset)
