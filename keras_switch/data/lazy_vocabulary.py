"""The vocabulary of the embedded corpus as SeqIO wants it; trained when first used."""

import seqio

from keras_switch.data import vocabularies


class EmbeddedVocabulary(seqio.SentencePieceVocabulary):
    """SentencePiece vocabulary that is trained when its first id is asked for.

    So that importing the tasks that use it costs nothing.

    Args:
        size: ids in all.
        num_sentinels: how many of them are sentinels.
    """

    def __init__(self, size: int, num_sentinels: int):
        self.size = size
        super().__init__("", extra_ids=num_sentinels)

    def __getstate__(self):
        """Says what the vocabulary is, loaded or not; two are equal if these are."""
        return super().__getstate__() | {"_sentencepiece_model_file": ""}

    def _model_context(self):
        if self._model is None:
            path = vocabularies.embedded_model(self.size - self._extra_ids)
            self._sentencepiece_model_file = str(path)
        return super()._model_context()

    @property
    def sentencepiece_model_file(self) -> str:
        self.load_model()
        return self._sentencepiece_model_file
