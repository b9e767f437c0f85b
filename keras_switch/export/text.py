"""SentencePiece inside a graph: text to token ids and back.

Axes: B batch, L length.
"""

import tensorflow as tf

PAD = 0


class Text:
    """The tokenizer of a model as TensorFlow operations.

    Args:
        tokenizer: `models.SwitchTokenizer`.

    Raises:
        ImportError: if TensorFlow Text is not installed.
    """

    def __init__(self, tokenizer):
        try:
            import tensorflow_text
        except ImportError as error:
            raise ImportError(
                "The export of a model with a tokenizer puts SentencePiece into the "
                "graph and needs TensorFlow Text: pip install tensorflow-text, of the "
                "same version as TensorFlow. Or export a model without a preprocessor, "
                "whose signatures take token ids."
            ) from error
        self.pieces = tensorflow_text.SentencepieceTokenizer(
            model=tokenizer.proto, out_type=tf.int32
        )
        self.size = tokenizer.vocabulary_size()
        self.end, self.unknown = tokenizer.end_token_id, tokenizer._unk_token_id

    def ids(self, texts, longest, ends):
        """Returns token ids `(B, L)`, 0 behind each; text is cut at `longest`.

        Args:
            texts: `(B,)` string.
            longest: most tokens of a text, the end included.
            ends: whether the end token follows.
        """
        ids = self.pieces.tokenize(texts)[:, : longest - ends]
        if ends:
            end = tf.fill(tf.stack([tf.size(texts), 1]), self.end)
            ids = tf.concat([ids, end], axis=1)
        return ids.to_tensor(PAD)

    def texts(self, token_ids):
        """Returns the texts of ids `(B, L)`, `(B,)` string, without special tokens."""
        real = tf.logical_and(token_ids != PAD, token_ids != self.end)
        # A token table has more rows than there are pieces.
        known = tf.where(token_ids < self.size, token_ids, self.unknown)
        return self.pieces.detokenize(tf.ragged.boolean_mask(known, real))
