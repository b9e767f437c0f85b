"""Vocabularies that come with published checkpoints: T5's and mT5's.

They are looked for in the folder that the environment variable KERAS_SWITCH_DATA names,
as `vocabularies/t5.model` and `vocabularies/mt5.model`; failing that they are
downloaded, once, from where their authors put them.
"""

import os
import pathlib
import urllib.error
import urllib.request

import seqio

from keras_switch.data import folders
from keras_switch.data.cache import cached

ADDRESSES = {
    "t5": "t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model",
    "mt5": "t5-data/vocabs/mc4.250000.100extra/sentencepiece.model",
}
HOST = "https://storage.googleapis.com"


class PublishedVocabulary(seqio.SentencePieceVocabulary):
    """SentencePiece vocabulary that is read when its first id is asked for.

    Args:
        name: `"t5"` (32,100 ids) or `"mt5"` (250,100), 100 sentinels among them.
    """

    def __init__(self, name: str):
        self.name = name
        super().__init__(f"gs://{ADDRESSES[name]}", extra_ids=100)

    def __getstate__(self):
        """Says what the vocabulary is, read or not; two are equal if these are."""
        address = {"_sentencepiece_model_file": f"gs://{ADDRESSES[self.name]}"}
        return super().__getstate__() | address

    def _model_context(self):
        if self._model is None:
            self._sentencepiece_model_file = str(_file(self.name))
        return super()._model_context()

    @property
    def sentencepiece_model_file(self) -> str:
        self.load_model()
        return self._sentencepiece_model_file


def _file(name) -> pathlib.Path:
    root = os.environ.get(folders.VARIABLE)
    path = root and pathlib.Path(root).expanduser() / "vocabularies" / f"{name}.model"
    if path and path.is_file():
        return path
    return cached(f"{name}.model", lambda: _downloaded(name))


def _downloaded(name) -> bytes:
    address = f"{HOST}/{ADDRESSES[name]}"
    try:
        with urllib.request.urlopen(address, timeout=20) as response:
            return response.read()
    except (urllib.error.URLError, TimeoutError) as error:
        raise FileNotFoundError(
            f"The vocabulary of {name.upper()} is not in ${folders.VARIABLE} and "
            f"cannot be downloaded ({error}). Fetch {address} elsewhere, and "
            f"put it at ${folders.VARIABLE}/vocabularies/{name}.model; or take another "
            "vocabulary: --gin.DataConfig.vocabulary=@embedded_vocabulary()."
        ) from error
