"""The parallel block of PaLM."""

import keras

from keras_switch.layers.block import Block, build_parts, resolved


@keras.saving.register_keras_serializable("keras_switch")
class ParallelBlock(Block):
    """Block whose two branches read the same norm: `x + mixer(n) + mlp(n)`.

    PaLM, arXiv:2204.02311, section 2. Arguments as in `Block`.
    """

    def build(self, x_shape):
        build_parts((self.mixer_norm, self.mixer, self.mlp), x_shape)

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
        y = self.mixer_norm(x)
        mixed = self._mixed(y, mask, bias, training)
        return x + mixed + self._fed(y, segments, token_ids, training)

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
        y = self.mixer_norm(x)
        mixed, cache = self.mixer.step(y, cache, index, mask, bias)
        return x + self.dropout(mixed) + self._fed(y, None, token_ids), cache

    def _make_inner_norms(self):
        pass
