"""Text to token ids as T5 numbers them."""

import pathlib

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_switch.models.backbone import SwitchBackbone

_SENTINEL = "▁<extra_id_{}>"  # T5 marks them as the beginning of a word


@keras.saving.register_keras_serializable("keras_switch")
class SwitchTokenizer(keras_hub.tokenizers.SentencePieceTokenizer):
    """SentencePiece with T5's special tokens (arXiv:1910.10683, section 3.1.4).

    0 is padding and starts a decoder's sequence, 1 ends a sequence, 2 is unknown. The
    sentinels `<extra_id_0>`, `<extra_id_1>`, ... count down from the last id.

    Args:
        proto: a SentencePiece model: path, bytes, or `None` to set it later.
        num_sentinels: sentinels to add behind the model's pieces, as SeqIO's
            `extra_ids` does; 0 if the model has them, as `cc_all.32000.100extra` has.
        **kwargs: of `keras_hub.tokenizers.SentencePieceTokenizer`.

    Raises:
        ValueError: if the model numbers its special tokens in another way.

    Example:
    ```python
    tokenizer = SwitchTokenizer("sentencepiece.model", num_sentinels=100)
    tokenizer("Thank you <extra_id_0> me")
    ```
    """

    backbone_cls = SwitchBackbone

    def __init__(self, proto=None, num_sentinels=0, **kwargs):
        self._added = num_sentinels
        self._add_special_token("<pad>", "pad_token")
        self._add_special_token("<pad>", "start_token")
        self._add_special_token("</s>", "end_token")
        super().__init__(proto=proto, **kwargs)

    def set_proto(self, proto):
        super().set_proto(proto)
        if self.proto is None:
            return
        if self._added:
            added, self._added = self._added, 0
            super().set_proto(_with_sentinels(self.proto, added))
        ids = {"<pad>": self.pad_token_id, "</s>": self.end_token_id}
        ids["<unk>"] = self._unk_token_id
        if list(ids.values()) != [0, 1, 2]:
            raise ValueError(
                f"SwitchTokenizer needs <pad>, </s> and <unk> at ids 0, 1 and 2, but "
                f"this SentencePiece model has {ids}. Train it with pad_id=0, "
                "eos_id=1, unk_id=2 and bos_id=-1."
            )

    def load_assets(self, dir_path):
        # KerasHub would leave the file open.
        self.set_proto((pathlib.Path(dir_path) / self.file_assets[0]).read_bytes())

    def detokenize(self, inputs, *args, **kwargs):
        # A token table has more rows than there are pieces: it is rounded up to 128s.
        return super().detokenize(self._known(inputs), *args, **kwargs)

    def _known(self, ids):
        """Returns ids with the unknown token in place of those that have no piece."""
        if isinstance(ids, list | tuple):
            return [self._known(row) for row in ids]
        if isinstance(ids, int | np.integer | np.ndarray):
            known = np.where(ids < self.vocabulary_size(), ids, self._unk_token_id)
            return known if isinstance(ids, np.ndarray) else int(known)
        if hasattr(ids, "with_values"):  # a ragged tensor
            return ids.with_values(self._known(ids.values))
        if type(ids).__module__.startswith("tensorflow"):
            import tensorflow as tf

            unknown = tf.cast(self._unk_token_id, ids.dtype)
            return tf.where(ids < self.vocabulary_size(), ids, unknown)
        return self._known(ops.convert_to_numpy(ids))

    @property
    def num_sentinels(self) -> int:
        """Sentinels that the vocabulary has."""
        count, pieces = 0, self.get_vocabulary()
        while count < len(pieces) and _is_sentinel(pieces[-1 - count], count):
            count += 1
        return count

    def sentinel_id(self, n: int) -> int:
        """Returns the id of `<extra_id_n>`.

        Raises:
            ValueError: if the vocabulary has no such sentinel.
        """
        if not 0 <= n < self.num_sentinels:
            raise ValueError(
                f"There is no <extra_id_{n}>: this vocabulary has {self.num_sentinels} "
                "sentinels. Make the tokenizer with num_sentinels=100 to add T5's."
            )
        return self.vocabulary_size() - 1 - n

    def get_config(self):
        # The model that is saved beside this config has its sentinels.
        return {**super().get_config(), "num_sentinels": self._added}


def _is_sentinel(piece, n):
    return piece.lstrip("▁") == f"<extra_id_{n}>"


def _with_sentinels(proto, count):
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    for n in reversed(range(count)):
        model.pieces.add(
            piece=_SENTINEL.format(n),
            score=0.0,
            type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED,
        )
    return model.SerializeToString()
