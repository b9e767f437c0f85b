"""Hidden states to scores of tokens."""

import keras

from keras_switch.layers.base import Layer


@keras.saving.register_keras_serializable("keras_switch")
class LanguageModelHead(Layer):
    """The logits of a `TokenEmbedding`, as a layer of a functional model.

    Args:
        embedding: `TokenEmbedding`, whose weights it shares.

    Call arguments:
        x: `(B, L, D)`.

    Returns:
        `(B, L, V)` float32.
    """

    def __init__(self, embedding, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.embedding = embedding

    def build(self, x_shape):
        if not self.embedding.built:
            self.embedding.build()

    def call(self, x):
        return self.embedding.logits(x)

    def compute_output_spec(self, x):
        shape = (*x.shape[:-1], self.embedding.vocab_size)
        return keras.KerasTensor(shape, dtype="float32")
