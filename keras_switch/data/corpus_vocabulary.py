"""A vocabulary made of a text of one's own, once, when it is first used."""

import hashlib

import seqio

from keras_switch.data import vocabularies
from keras_switch.data.cache import cached


class CorpusVocabulary(seqio.SentencePieceVocabulary):
    """SentencePiece vocabulary trained on texts when its first id is asked for.

    The same texts give the same vocabulary; the file is kept in the cache folder.

    Args:
        name: for the file.
        texts: function that returns the lines of text.
        size: ids in all, 100 sentinels among them.
    """

    def __init__(self, name: str, texts, size: int):
        self.name = name
        self.size = size
        self._texts = texts
        super().__init__(name, extra_ids=vocabularies.NUM_SENTINELS)

    def __getstate__(self):
        """Says what the vocabulary is, trained or not; two are equal if these are."""
        return super().__getstate__() | {"_sentencepiece_model_file": self.name}

    def _model_context(self):
        if self._model is None:
            self._sentencepiece_model_file = str(self._trained())
        return super()._model_context()

    @property
    def sentencepiece_model_file(self) -> str:
        self.load_model()
        return self._sentencepiece_model_file

    def _trained(self):
        texts = vocabularies.sample(self._texts())
        pieces = self.size - self._extra_ids
        key = hashlib.sha256("\n".join([str(pieces), *texts]).encode())
        name = f"vocabulary-{self.name}-{pieces}-{key.hexdigest()[:16]}.model"
        return cached(name, lambda: vocabularies.train(texts, pieces))
