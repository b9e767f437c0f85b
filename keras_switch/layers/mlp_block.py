"""A block that mixes nothing: a further layer over each token.

Axes: B batch, L length, Q queries, D d_model.
"""

import keras

from keras_switch.layers.base import Layer
from keras_switch.layers.block import build_parts
from keras_switch.layers.dropout import SequenceDropout
from keras_switch.layers.normalization import RMSNorm


@keras.saving.register_keras_serializable("keras_switch")
class MlpBlock(Layer):
    """`x + mlp(norm(x))`: ST-MoE's extra dense sublayer after a sparse block.

    arXiv:2202.08906, appendix C. It stands among the blocks of a `Stack`.

    Args:
        mlp: layer over each token: dense or gated.
        dropout_rate: rate on the branch; the mask is shared along the length.
        epsilon: of the norm.

    Call arguments:
        x: `(B, L, D)`.
        training: whether to drop.
        **others: those of `Block`, which need nothing here.
    """

    causal = True

    def __init__(self, mlp, dropout_rate=0.0, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.mlp = mlp
        self.dropout_rate = dropout_rate
        self.epsilon = epsilon
        self.mlp_norm = RMSNorm(epsilon, dtype=self.dtype_policy, name="mlp_norm")
        self.dropout = SequenceDropout(dropout_rate, dtype=self.dtype_policy)

    def build(self, x_shape):
        build_parts((self.mlp_norm, self.mlp), x_shape)

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
        y = self.mlp(self.mlp_norm(x), training=training)
        return x + self.dropout(y, training=training)

    def compute_output_shape(self, x_shape):
        return x_shape

    def init_cache(self, batch_size, length, context=None):
        """Returns the state of decoding: none."""
        return ()

    def step(self, x, cache, index, **others):
        """Returns the output for the next tokens `(B, Q, D)`, and the state: none."""
        return self(x), cache
