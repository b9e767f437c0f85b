"""Multi-head, grouped-query and multi-query attention.

Axes: B batch, Q queries, Kl keys, D d_model, H heads, KV key and value heads.
"""

from typing import ClassVar

import keras
from keras import ops

from keras_switch.layers.dropout import SequenceDropout
from keras_switch.layers.lora import LoraLayer
from keras_switch.partitioning import constrain, gathered, on_mesh
from keras_switch.routing.softmax import softmax

MASKED = -1e9  # Mesh TensorFlow's; finite, and so is a row without any visible key


@keras.saving.register_keras_serializable("keras_switch")
class Attention(LoraLayer):
    """Attention without biases; logits and softmax in float32 under every policy.

    As in T5 (arXiv:1910.10683) logits are not divided by sqrt(d_kv); the initializer of
    the queries makes up for it.

    Args:
        num_heads: query heads.
        d_kv: width of a head.
        num_kv_heads: key and value heads, each serving `num_heads / num_kv_heads` query
            heads (arXiv:2305.13245); 1 is multi-query. `None`: as many as `num_heads`.
        dropout_rate: share of attention probabilities to drop in training; the mask is
            shared along the queries, as in Mesh TensorFlow.
        rotary: `Rotary` layer that turns queries and keys, or `None`. It acts within a
            sequence only, not on a `context`.
        logit_scale: factor of the logits: 1 in T5, `d_kv**-0.5` in PaLM.

    Call arguments:
        x: `(B, Q, D)`.
        context: `(B, Kl, D')` to attend to instead of `x`.
        mask: `(B or 1, 1, Q, Kl)` bool, true where a query sees a key; or, without
            `context`, `(B, Q)` bool, true for real tokens.
        bias: `(1, H, Q, Kl)`, added to the logits.
        training: whether to drop.

    Raises:
        ValueError: if heads cannot share key and value heads evenly, or the mask has
            another rank.
    """

    lora_axes: ClassVar = {
        **{"query": (0, 1), "key": (0, 1), "value": (0, 1)},
        "output": (0, 2),
    }

    def __init__(
        self,
        num_heads,
        d_kv,
        num_kv_heads=None,
        dropout_rate=0.0,
        rotary=None,
        logit_scale=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.d_kv = d_kv
        self.num_kv_heads = num_kv_heads
        self.dropout_rate = dropout_rate
        self.rotary = rotary
        self.logit_scale = logit_scale
        self.kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if self.kv_heads < 1 or num_heads % self.kv_heads:
            raise ValueError(
                f"{self.name!r} got num_heads={num_heads} and num_kv_heads="
                f"{num_kv_heads}: each key and value head serves the same number of "
                f"query heads, so num_kv_heads must divide {num_heads}."
            )
        self.dropout = SequenceDropout(dropout_rate, dtype=self.dtype_policy)

    def build(self, x_shape, context_shape=None):
        d_model, heads, d_kv = x_shape[-1], self.num_heads, self.d_kv
        d_context = (context_shape or x_shape)[-1]
        # Mesh TensorFlow folds 1 / sqrt(d_kv) into the queries' initial values.
        spread = (d_model * d_kv) ** -0.5 / self.logit_scale
        dims = ("d_model", "heads", "d_kv")
        self.query = self._kernel("query", (d_model, heads, d_kv), dims, spread)
        shape, dims = (d_context, self.kv_heads, d_kv), ("d_model", "kv_heads", "d_kv")
        self.key = self._kernel("key", shape, dims, d_context**-0.5)
        self.value = self._kernel("value", shape, dims, d_context**-0.5)
        shape, dims = (heads, d_kv, d_model), ("heads", "d_kv", "d_model")
        self.out = self._kernel("output", shape, dims, (heads * d_kv) ** -0.5)
        self._build_lora()

    def lora_kernel(self, name):
        return self.out if name == "output" else getattr(self, name)

    def call(self, x, context=None, mask=None, bias=None, training=False):
        mask = self._checked(mask, context)
        query = self._heads(x, "query")
        key = self._heads(x if context is None else context, "key")
        value = self._heads(x if context is None else context, "value")
        if context is None and self.rotary is not None:
            positions = ops.arange(ops.shape(x)[1])
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        key, value = _swap_heads(key), _swap_heads(value)
        return self._attend(query, key, value, mask, bias, training)

    def compute_output_shape(self, x_shape):
        return x_shape

    def init_cache(self, batch_size, length):
        """Returns empty caches of keys and values, `(B, KV, length, d_kv)` each.

        Heads go before tokens, so that a step reads them as they lie.
        """
        shape = (batch_size, self.kv_heads, length, self.d_kv)
        return tuple(
            _pinned(ops.zeros(shape, dtype=self.compute_dtype)) for _ in range(2)
        )

    def keys_values(self, context):
        """Returns keys and values of `context` `(B, Kl, D')`, as `attend` takes them.

        Computed once, they serve every step of decoding: `(B, KV, Kl, d_kv)` each.
        """
        context = ops.cast(context, self.compute_dtype)
        parts = self._heads(context, "key"), self._heads(context, "value")
        return tuple(_pinned(_swap_heads(part)) for part in parts)

    def attend(self, x, cache, mask=None, bias=None):
        """Returns what `x` `(B, Q, D)` reads from a cache of keys and values.

        Args:
            x: `(B, Q, D)`.
            cache: keys and values, `(B, KV, Kl, d_kv)`, from `keys_values` or `step`.
            mask: `(B or 1, 1, Q, Kl)` bool, true where a query sees a key.
            bias: `(1, H, Q, Kl)`.
        """
        query = self._heads(ops.cast(x, self.compute_dtype), "query")
        return self._attend(query, *cache, mask, bias)

    def step(self, x, cache, index, mask=None, bias=None):
        """Attends from the next tokens to themselves and those in the cache.

        Args:
            x: `(B, Q, D)`, the tokens at positions `index`, `index + 1`, ...; one in
                decoding, more for a prompt.
            cache: keys and values, `(B, KV, Kl, d_kv)`, of the tokens before `index`.
            index: int scalar.
            mask: `(B or 1, 1, Q, Kl)` bool; true for no key from `index + Q` on.
            bias: `(1, H, Q, Kl)`.

        Returns:
            `(B, Q, D)`, and the caches with these tokens in them.
        """
        x = ops.cast(x, self.compute_dtype)
        query, key = self._heads(x, "query"), self._heads(x, "key")
        if self.rotary is not None:
            positions = index + ops.arange(ops.shape(x)[1])
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        new = key, self._heads(x, "value")
        cache = tuple(
            _written(old, _swap_heads(part), index)
            for old, part in zip(cache, new, strict=True)
        )
        return self._attend(query, *cache, mask, bias), cache

    def _heads(self, x, name):
        """Returns `x` `(B, L, D)` as `(B, L, heads, d_kv)`, by the kernel of a name."""

        def update(a, b):
            rows = constrain(ops.matmul(x, a), "batch", "length", None)
            return ops.einsum("blr,rhk->blhk", rows, b)

        kernel = gathered(self.lora_kernel(name), x.dtype)
        y = self._adapted(name, ops.einsum("bld,dhk->blhk", x, kernel), update)
        return constrain(y, "batch", "length", "heads", "d_kv")

    def _attend(self, query, key, value, mask, bias, training=False):
        """Returns `(B, Q, D)` for queries `(B, Q, H, d)`, the rest `(B, KV, Kl, d)`."""
        length = ops.shape(query)[1]
        # Query heads that share a key head are rows of one matrix: (B, KV, H/KV*Q, d).
        query = _swap_heads(ops.cast(query, "float32") * self.logit_scale)
        query = ops.reshape(query, (-1, self.kv_heads, *self._rows(length), self.d_kv))
        key = ops.cast(key, "float32")
        logits = ops.matmul(query, ops.swapaxes(key, 2, 3))
        logits = ops.reshape(logits, (-1, self.num_heads, length, ops.shape(key)[2]))
        logits = constrain(logits, "batch", "heads", None, None)  # (B, H, Q, Kl)
        if bias is not None:
            logits = logits + ops.cast(bias, "float32")
        if mask is not None:
            # A sum, not ops.where: TensorFlow's broadcasting choice uses one thread.
            logits = logits + MASKED * (1 - ops.cast(mask, "float32"))
        probs = ops.cast(softmax(logits), self.compute_dtype)
        probs = self.dropout(probs, training=training)
        probs = ops.reshape(
            probs, (-1, self.kv_heads, *self._rows(length), ops.shape(key)[2])
        )
        x = ops.matmul(probs, value)
        x = ops.reshape(x, (-1, self.num_heads, length, self.d_kv))
        x = constrain(x, "batch", "heads", "length", "d_kv")
        return constrain(self._joined(x), "batch", "length", "d_model")

    def _joined(self, x):
        """Returns the answers of all heads `(B, H, Q, d_kv)` as `(B, Q, D)`."""

        def update(a, b):
            rows = ops.einsum("bhqk,hkr->bqr", x, a)
            return ops.matmul(constrain(rows, "batch", "length", None), b)

        y = ops.einsum("bhqk,hkd->bqd", x, gathered(self.out, x.dtype))
        return self._adapted("output", y, update)

    def _rows(self, length):
        """Returns the number of rows of queries per key head, as part of a shape."""
        return (self.num_heads // self.kv_heads * length,)

    def _kernel(self, name, shape, dims, stddev):
        initializer = keras.initializers.RandomNormal(stddev=stddev)
        return self.add_param(name, shape, dims, initializer)

    def _checked(self, mask, context):
        if mask is not None and len(mask.shape) == 2 and context is None:
            return ops.expand_dims(mask, axis=(1, 2))
        if mask is not None and len(mask.shape) != 4:
            raise ValueError(
                f"{self.name!r} got a mask of shape {tuple(mask.shape)}: give (batch "
                "or 1, 1, queries, keys), true where a query sees a key; "
                "keras_switch.layers.attention_mask makes one."
            )
        return mask


def _swap_heads(x):
    """Returns `(B, L, H, d)` as `(B, H, L, d)`."""
    return ops.transpose(x, (0, 2, 1, 3))


def _written(cache, new, index):
    """Returns the cache `(B, KV, Kl, d)` with `new` `(B, KV, Q, d)` at `index`.

    Written in place where nobody else reads the cache. Not by `ops.slice_update`,
    which DTensor cannot split and TF Serving cannot run on a GPU.
    """
    new = ops.cast(new, cache.dtype)
    if on_mesh():
        return _by_choice(cache, new, index)
    rows, heads, length, _ = ops.shape(new)
    place = [
        ops.reshape(ops.arange(rows, dtype="int32"), (-1, 1, 1)),
        ops.reshape(ops.arange(heads, dtype="int32"), (1, -1, 1)),
        ops.reshape(index + ops.arange(length, dtype="int32"), (1, 1, -1)),
    ]
    zero = sum(ops.zeros_like(axis) for axis in place)
    place = ops.stack([axis + zero for axis in place], axis=-1)  # (B, KV, Q, 3)
    return ops.scatter_update(
        cache, ops.reshape(place, (-1, 3)), ops.reshape(new, (-1, new.shape[-1]))
    )


def _by_choice(cache, new, index):
    """Returns the same by a choice per position, which DTensor can split."""
    place = ops.arange(ops.shape(cache)[2]) - index
    fits = ops.logical_and(place >= 0, place < ops.shape(new)[2])
    rows = ops.clip(place, 0, ops.shape(new)[2] - 1)
    new = ops.take(new, rows, axis=2)
    return _pinned(ops.where(ops.reshape(fits, (1, 1, -1, 1)), new, cache))


def _pinned(cache):
    """Returns a cache `(B, KV, Kl, d)` laid out as loops on a mesh need it."""
    return constrain(cache, "batch", "kv_heads", "length", "d_kv")
