"""A stack of blocks.

Axes: B batch, L length, Kc length of the context, D d_model.
"""

import keras
from keras import ops, tree

from keras_switch.layers.base import Layer
from keras_switch.layers.block import build_parts
from keras_switch.layers.cross_block import CrossBlock
from keras_switch.layers.dropout import SequenceDropout
from keras_switch.layers.masks import attention_mask, causal_mask
from keras_switch.layers.mlp_block import MlpBlock
from keras_switch.layers.normalization import RMSNorm
from keras_switch.layers.remat import rematerialized


@keras.saving.register_keras_serializable("keras_switch")
class Stack(Layer):
    """Blocks one after the other, between dropouts, and a final norm.

    Args:
        blocks: `Block`s, `ParallelBlock`s or `CrossBlock`s, each used once.
        position: `RelativeBias` that all blocks share, or `None`.
        causal: whether a token sees no token after itself.
        dropout_rate: rate after the embedding and after the final norm.
        epsilon: of the final norm.
        remat: whether to recompute each block in the backward pass rather than to keep
            its intermediate tensors: one more forward pass for memory of one block.

    Call arguments:
        x: `(B, L, D)`.
        segments: `(B, L)` int, 0 for padding, n for the n-th example in this row.
            Tokens see their own segment only. A padding mask of 0 and 1 will do.
        context: `(B, Kc, D')`, the encoder's output, for `CrossBlock`s.
        context_segments: `(B, Kc)` int, likewise.
        prefix: `(B, L)` bool, tokens of a causal stack that see each other (prefix LM).
        token_ids: `(B, L)` int, for layers that route by them.
        mask: `(B, L)` bool, true for real tokens: what Keras hands on from an
            `Embedding(mask_zero=True)`; `segments` go before it.
        training: whether to drop.

    Raises:
        ValueError: if there are no blocks; if one stands twice, cannot be causal in a
            causal stack, or has another number of heads than `position`; or if
            `context` is missing, or not wanted.
    """

    def __init__(
        self,
        blocks,
        position=None,
        causal=False,
        dropout_rate=0.0,
        epsilon=1e-6,
        remat=False,
        **kwargs,
    ):
        # Weights are read here only for `rematerialized`, which wants them as stored.
        super().__init__(autocast=False, **kwargs)
        self.blocks = list(blocks)
        self.position = position
        self.causal = causal
        self.dropout_rate = dropout_rate
        self.epsilon = epsilon
        self.remat = remat
        self._check_blocks()
        self.dropout = SequenceDropout(dropout_rate, dtype=self.dtype_policy)
        self.final_norm = RMSNorm(epsilon, dtype=self.dtype_policy, name="final_norm")

    def build(self, x_shape, context_shape=None):
        if self.position is not None:
            build_parts((self.position,), (None,), (None,))
        for block in self.blocks:
            shapes = (context_shape,) if isinstance(block, CrossBlock) else ()
            build_parts((block,), x_shape, *shapes)
        build_parts((self.final_norm,), x_shape)

    def call(
        self,
        x,
        segments=None,
        context=None,
        context_segments=None,
        prefix=None,
        token_ids=None,
        mask=None,
        training=False,
    ):
        self._check_context(context)
        if segments is None and mask is not None:
            segments = ops.cast(mask, "int32")
        positions = ops.arange(ops.shape(x)[1])
        given = {
            "segments": segments,
            "mask": self._mask(segments, positions, prefix),
            "context_mask": _context_mask(segments, context_segments),
            "token_ids": token_ids,
            "training": training,
        }
        x = self.dropout(ops.cast(x, self.compute_dtype), training=training)
        bias = self._bias(positions, positions)
        for block in self.blocks:
            x = self._through(block, x, bias, context, given)
        return self.dropout(self.final_norm(x), training=training)

    def compute_output_shape(self, x_shape):
        return x_shape

    def init_cache(self, batch_size, length, context=None):
        """Returns the state from which `step` decodes up to `length` tokens.

        Keys and values of the context are computed here, once.

        Args:
            batch_size: rows to decode, int.
            length: positions to make room for, int.
            context: `(B, Kc, D')`, the encoder's output, for `CrossBlock`s.

        Returns:
            One entry per block, tensors whose first axis is the batch.
        """
        self._check_context(context)
        return [block.init_cache(batch_size, length, context) for block in self.blocks]

    def step(
        self,
        x,
        cache,
        index,
        context_segments=None,
        prefix=None,
        token_ids=None,
    ):
        """Returns the output for the next tokens, and the state after them.

        Gives what `call` gives at these positions, without dropout.

        Args:
            x: `(B, Q, D)`, the tokens at positions `index`, `index + 1`, ...; one in
                decoding, or a whole prompt.
            cache: from `init_cache` or the step before.
            index: int scalar, position of the first of them.
            context_segments: `(B, Kc)` int, 0 for padding.
            prefix: `(B, length)` bool, as in `call`.
            token_ids: `(B, Q)` int, for layers that route by them.

        Returns:
            `(B, Q, D)`, and the state.

        Raises:
            ValueError: if the stack is not causal.
        """
        if not self.causal:
            raise ValueError(
                f"{self.name!r} is not causal: its tokens see those after them, so it "
                "cannot run step by step. Make it with causal=True."
            )
        first, *_ = tree.flatten(cache)
        queries = index + ops.arange(ops.shape(x)[1])
        keys = ops.arange(ops.shape(first)[2])
        given = {
            "mask": causal_mask(queries, keys, prefix),
            "bias": self._bias(queries, keys),
            "context_mask": _context_mask(None, context_segments),
            "token_ids": token_ids,
        }
        x, after = ops.cast(x, self.compute_dtype), []
        for block, entry in zip(self.blocks, cache, strict=True):
            x, entry = block.step(x, entry, index, **given)
            after.append(entry)
        return self.final_norm(x), after

    def _through(self, block, x, bias, context, given):
        """Returns `block`'s output; with `remat`, to be recomputed going backward."""
        if not self.remat:
            return block(x, bias=bias, context=context, **given)
        floats = {"x": x, "bias": bias, "context": context}
        floats = {name: value for name, value in floats.items() if value is not None}

        def call(*values):
            return block(**dict(zip(floats, values, strict=True)), **given)

        x, losses = rematerialized(block, call, list(floats.values()))
        for loss in losses:
            self.add_loss(loss)
        return x

    def _mask(self, segments, positions, prefix):
        if segments is not None:
            return attention_mask(segments, segments, self.causal, prefix)
        return causal_mask(positions, positions, prefix) if self.causal else None

    def _bias(self, queries, keys):
        return None if self.position is None else self.position(queries, keys)

    def _check_context(self, context):
        wanted = any(isinstance(block, CrossBlock) for block in self.blocks)
        if wanted == (context is not None):
            return
        raise ValueError(
            f"{self.name!r} has blocks that attend to a context but got none: call it "
            "with context=, the output of an encoder."
            if wanted
            else f"{self.name!r} got a context but none of its blocks attends to one: "
            "make it of CrossBlocks, or leave context out."
        )

    def _check_blocks(self):
        if not self.blocks:
            raise ValueError(f"{self.name!r} got no blocks: give a list of them.")
        if len(set(map(id, self.blocks))) < len(self.blocks):
            raise ValueError(
                f"{self.name!r} got the same block twice: make one layer per place."
            )
        for block in self.blocks:
            if self.causal and not block.causal:
                raise ValueError(
                    f"{self.name!r} is causal, but {block.name!r} lets tokens see "
                    "those after them (Fourier mixing, or experts that choose tokens): "
                    "use attention and a policy in which tokens choose, or "
                    "causal=False."
                )
            if isinstance(block, MlpBlock):
                continue  # nothing in it has heads
            heads = getattr(block.mixer, "num_heads", None)
            if self.position is not None and heads != self.position.num_heads:
                raise ValueError(
                    f"{self.name!r} shares a position bias for "
                    f"{self.position.num_heads} heads, but the mixer of {block.name!r} "
                    f"has {heads or 'none'}: give both the same num_heads, or "
                    "position=None."
                )


def _context_mask(segments, context_segments):
    if context_segments is None:
        return None
    return attention_mask(segments, context_segments)
