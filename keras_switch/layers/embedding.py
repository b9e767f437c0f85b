"""Token embedding, and the way back to the vocabulary.

Axes: B batch, L length, D d_model, V vocabulary.
"""

import keras
from keras import ops

from keras_switch.layers.base import Layer
from keras_switch.layers.initializers import ScaledTruncatedNormal
from keras_switch.partitioning import constrain, gathered, parts_of
from keras_switch.partitioning.gathers import look_up


@keras.saving.register_keras_serializable("keras_switch")
class TokenEmbedding(Layer):
    """Vectors of tokens, and scores of all tokens for a vector.

    Args:
        vocab_size: number of tokens.
        d_model: width of a vector.
        tied: whether scores are products with the embedding itself (T5 v1.0) or with
            a kernel of their own (T5 v1.1).
        logit_scale: factor of the scores. `None`: `d_model**-0.5` if tied, else 1, as
            in T5.
        init_scale: scale of the untied kernel's `ScaledTruncatedNormal`. The embedding
            starts as N(0, 1).

    Call arguments:
        ids: `(B, L)` int.

    Raises:
        ValueError: if `ids` are not integers.
    """

    def __init__(
        self,
        vocab_size,
        d_model,
        tied=True,
        logit_scale=None,
        init_scale=0.1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.d_model = d_model
        self.tied = tied
        self.logit_scale = logit_scale
        self.init_scale = init_scale

    def build(self, input_shape=None):
        # Cast by hand: the rows that are looked up, not the table; and never the
        # weights behind the logits, which are float32.
        self.embedding = self.add_param(
            "embedding",
            (self.vocab_size, self.d_model),
            ("vocab", "d_model"),
            keras.initializers.RandomNormal(stddev=1.0),
            autocast=False,
        )
        if not self.tied:
            self.kernel = self.add_param(
                "logits",
                (self.d_model, self.vocab_size),
                ("d_model", "vocab"),
                ScaledTruncatedNormal(self.init_scale),
                autocast=False,
            )

    def call(self, ids):
        if "int" not in keras.backend.standardize_dtype(ids.dtype):
            raise ValueError(
                f"{self.name!r} got ids of dtype {ids.dtype}: give integers. In a "
                'Keras model that is keras.Input(shape, dtype="int32").'
            )
        x = ops.cast(self._looked_up(ids), self.compute_dtype)
        return constrain(x, *("batch", "length")[: len(ids.shape)], "d_model")

    def _looked_up(self, ids):
        parts = parts_of("vocab", self.vocab_size)
        if parts == 1:
            return ops.take(self.embedding, ids, axis=0)
        return look_up(ops.copy(self.embedding), ops.cast(ids, "int32"), parts)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.d_model)

    def logits(self, x):
        """Returns scores of all tokens, `(B, L, V)` float32, for `x` `(B, L, D)`."""
        scale = self.logit_scale
        if scale is None:
            scale = self.d_model**-0.5 if self.tied else 1.0
        kernel = gathered(self.embedding if self.tied else self.kernel, "float32")
        kernel = ops.transpose(kernel) if self.tied else kernel
        x = ops.matmul(ops.cast(x, "float32") * scale, kernel)
        return constrain(x, *("batch", "length")[: len(x.shape) - 1], "vocab")
