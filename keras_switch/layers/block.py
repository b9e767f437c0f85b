"""A block of a Transformer: mixing between tokens, then a layer over each token.

Axes: B batch, L length, Q queries, Kl keys, D d_model, H heads.
"""

import keras
from keras import ops

from keras_switch.layers.base import Layer
from keras_switch.layers.dropout import SequenceDropout
from keras_switch.layers.masks import attention_mask
from keras_switch.layers.normalization import RMSNorm


@keras.saving.register_keras_serializable("keras_switch")
class Block(Layer):
    """Pre-norm block: `x + mixer(norm(x))`, then `x + mlp(norm(x))`.

    Args:
        mixer: layer between tokens: `Attention`, `FourierMixing`.
        mlp: layer over each token: dense, gated, sparse.
        dropout_rate: rate on each branch; the mask is shared along the length.
        epsilon: of the norms.

    Call arguments:
        x: `(B, L, D)`.
        segments: `(B, L)` int, 0 for padding, n for the n-th example in this row.
        mask: `(B or 1, 1, Q, Kl)` bool, true where a query sees a key; without one,
            `segments` say it. `(B, L)` bool stands for `segments`.
        bias: `(1, H, Q, Kl)`, added to attention logits.
        context, context_mask: for `CrossBlock`.
        token_ids: `(B, L)` int, for an mlp that routes by them.
        training: whether to drop.
    """

    def __init__(self, mixer, mlp, dropout_rate=0.0, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.mixer = mixer
        self.mlp = mlp
        self.dropout_rate = dropout_rate
        self.epsilon = epsilon
        self.mixer_norm = self._norm("mixer_norm")
        self._make_inner_norms()
        self.dropout = SequenceDropout(dropout_rate, dtype=self.dtype_policy)

    def build(self, x_shape):
        build_parts((self.mixer_norm, self.mixer, self.mlp_norm, self.mlp), x_shape)

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
        segments, mask = resolved(segments, mask)
        x = x + self._mixed(self.mixer_norm(x), mask, bias, training)
        return x + self._fed(self.mlp_norm(x), segments, token_ids, training)

    def compute_output_shape(self, x_shape):
        return x_shape

    @property
    def causal(self):
        """Whether the block may stand in a causal stack."""
        return all(getattr(part, "causal", True) for part in (self.mixer, self.mlp))

    def init_cache(self, batch_size, length, context=None):
        """Returns the empty state of decoding `length` tokens; see `step`."""
        return self.mixer.init_cache(batch_size, length)

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
        """Returns the block's output for the next tokens, and the state after them.

        Args:
            x: `(B, Q, D)`, the tokens at positions `index`, `index + 1`, ...
            cache: from `init_cache` or the step before.
            index: int scalar.
            mask: `(B or 1, 1, Q, Kl)` bool; Kl is the length of the cache.
            bias: `(1, H, Q, Kl)`.
            context_mask: for `CrossBlock`.
            token_ids: `(B, Q)` int, for an mlp that routes by them.
        """
        y, cache = self.mixer.step(self.mixer_norm(x), cache, index, mask, bias)
        x = x + self.dropout(y)
        return x + self._fed(self.mlp_norm(x), None, token_ids), cache

    def _make_inner_norms(self):
        self.mlp_norm = self._norm("mlp_norm")

    def _norm(self, name):
        return RMSNorm(self.epsilon, dtype=self.dtype_policy, name=name)

    def _mixed(self, x, mask, bias, training):
        x = self.mixer(x, mask=mask, bias=bias, training=training)
        return self.dropout(x, training=training)

    def _fed(self, x, segments, token_ids, training=False):
        given = {"training": training}
        if segments is not None:
            given["mask"] = real = ops.not_equal(segments, 0)
            if getattr(self.mlp, "wants_zero_padding", False):
                x = x * ops.cast(real, x.dtype)[..., None]
        if getattr(self.mlp, "uses_token_ids", False):
            given["token_ids"] = token_ids
        return self.dropout(self.mlp(x, **given), training=training)


def build_parts(parts, *shapes):
    """Builds the layers that are not; a layer read back from a config comes built."""
    for part in parts:
        if not part.built:
            part.build(*shapes)


def resolved(segments, mask):
    """Returns segments and attention mask of a block that was given either or both.

    Keras hands the `(B, L)` mask of an `Embedding(mask_zero=True)` to the argument
    `mask`.
    """
    if mask is not None and len(mask.shape) == 2:
        segments = ops.cast(mask, "int32") if segments is None else segments
        mask = None
    if mask is None and segments is not None:
        mask = attention_mask(segments, segments)
    return segments, mask
