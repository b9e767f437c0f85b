"""The decoder block of an encoder-decoder.

Axes: B batch, L length, Kc length of the context, D d_model.
"""

import keras
from keras import ops

from keras_switch.layers.block import Block, build_parts, resolved


@keras.saving.register_keras_serializable("keras_switch")
class CrossBlock(Block):
    """Block that also reads a context, between its mixer and its mlp.

    Args:
        mixer: layer between tokens.
        cross: `Attention` to the context.
        mlp: layer over each token.
        dropout_rate: rate on each branch; the mask is shared along the length.
        epsilon: of the norms.

    Call arguments: as `Block`, and
        context: `(B, Kc, D')`, the encoder's output.
        context_mask: `(B, 1, L, Kc)` bool, true where a token sees a token of the
            context; or `(B, Kc)` bool, true for the context's real tokens.

    Raises:
        ValueError: if no context comes.
    """

    def __init__(self, mixer, cross, mlp, dropout_rate=0.0, epsilon=1e-6, **kwargs):
        super().__init__(mixer, mlp, dropout_rate, epsilon, **kwargs)
        self.cross = cross

    def build(self, x_shape, context_shape=None):
        super().build(x_shape)
        build_parts((self.cross_norm,), x_shape)
        build_parts((self.cross,), x_shape, context_shape)

    def call(
        self,
        x,
        segments=None,
        mask=None,
        bias=None,
        context=None,
        context_mask=None,
        token_ids=None,
        training=False,
    ):
        if context is None:
            raise ValueError(
                f"{self.name!r} attends to a context but got none: call it with "
                "context=, the output of an encoder, or use a Block."
            )
        segments, mask = resolved(segments, mask)
        if context_mask is not None and len(context_mask.shape) == 2:
            context_mask = ops.expand_dims(context_mask, axis=(1, 2))
        x = x + self._mixed(self.mixer_norm(x), mask, bias, training)
        y = self.cross(
            self.cross_norm(x), context=context, mask=context_mask, training=training
        )
        x = x + self.dropout(y, training=training)
        return x + self._fed(self.mlp_norm(x), segments, token_ids, training)

    def init_cache(self, batch_size, length, context=None):
        """Returns the state of decoding: an empty cache, and the context's."""
        return self.mixer.init_cache(batch_size, length), self.cross.keys_values(
            context
        )

    def step(
        self,
        x,
        cache,
        index,
        mask=None,
        bias=None,
        context_mask=None,
        token_ids=None,
    ):
        own, read = cache
        y, own = self.mixer.step(self.mixer_norm(x), own, index, mask, bias)
        x = x + self.dropout(y)
        y = self.cross.attend(self.cross_norm(x), read, context_mask)
        x = x + self.dropout(y)
        return x + self._fed(self.mlp_norm(x), None, token_ids), (own, read)

    def _make_inner_norms(self):
        super()._make_inner_norms()
        self.cross_norm = self._norm("cross_norm")
