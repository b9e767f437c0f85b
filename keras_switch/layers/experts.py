"""Experts: feed-forward networks side by side, one weight tensor for all.

Axes: N blocks of rows with one owner each, R rows in a block, E experts, D model width,
F hidden width of an expert.
"""

from typing import ClassVar

import keras
from keras import ops

from keras_switch.dispatch.gathers import take_blocks
from keras_switch.layers import activations
from keras_switch.layers.initializers import ScaledTruncatedNormal
from keras_switch.layers.int8 import Int8Blocks, block_of
from keras_switch.layers.lora import LoraLayer
from keras_switch.partitioning import constrain, gathered


class _Experts(LoraLayer):
    """What plain and gated experts share: arguments, weights by block, dropout."""

    lora_options: ClassVar = {"autocast": False}

    def __init__(
        self, num_experts, d_ff, activation, expert_dropout_rate, init_scale, **kwargs
    ):
        super().__init__(**kwargs)
        check_positive(self, num_experts=num_experts, d_ff=d_ff)
        if not 0 <= expert_dropout_rate < 1:
            raise ValueError(
                f"{self.name!r} got expert_dropout_rate={expert_dropout_rate}: give "
                "0 <= rate < 1; the paper fine-tunes with 0.4."
            )
        self.num_experts = num_experts
        self.d_ff = d_ff
        self.activation = activations.get(activation)
        self.expert_dropout_rate = expert_dropout_rate
        self.init_scale = init_scale
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape):
        d_model = input_shape[-1]
        into = (self.num_experts, d_model, self.d_ff)
        for name in self._inputs_named():
            setattr(self, name, self._add(name, into, ("d_model", "d_ff")))
        out = (self.num_experts, self.d_ff, d_model)
        self.wo = self._add("wo", out, ("d_ff", "d_model"))

    def call(self, rows, owner=None, training=False):
        hidden = constrain(self._hidden(rows, owner), "experts", "batch", "d_ff")
        if training and self.expert_dropout_rate:
            hidden = keras.random.dropout(
                hidden, self.expert_dropout_rate, seed=self.seed_generator
            )
        rows = self._product(hidden, "wo", owner)
        return constrain(rows, "experts", "batch", "d_model")

    def compute_output_shape(self, input_shape):
        return input_shape

    def _add(self, name, shape, dims, initializer=None):
        # Without autocast: the weights of a block are taken first and cast then, so
        # that a decoding step casts a few experts and not all of them.
        return self.add_param(
            name,
            shape,
            ("experts", *dims),
            initializer or ScaledTruncatedNormal(self.init_scale),
            autocast=False,
        )

    def _of_blocks(self, weight, owner, dtype):
        """Returns the weights of each block's owner, `(N, ...)`."""
        if owner is None:
            return gathered(weight, dtype)
        if isinstance(weight, Int8Blocks):
            return weight.of(owner, dtype)
        if owner.shape[0] == 1:
            return ops.cast(block_of(weight, owner), dtype)
        return ops.cast(take_blocks(ops.copy(weight), owner), dtype)

    def _product(self, rows, name, owner):
        """Returns `rows` `(N, R, in)` times each owner's kernel, `(N, R, out)`."""
        kernel = self._of_blocks(getattr(self, name), owner, rows.dtype)
        y = ops.matmul(rows, kernel)
        if name not in self.lora_targets:
            return y
        a, b = (self._of_blocks(w, owner, rows.dtype) for w in self._pair(name))
        low = constrain(ops.matmul(rows, a), "experts", "batch", None)
        return y + self.lora_scale * ops.matmul(low, b)


@keras.saving.register_keras_serializable("keras_switch")
class Experts(_Experts):
    """Plain experts: `activation(rows @ wi) @ wo`, each with weights of its own.

    Args:
        num_experts: E.
        d_ff: F, hidden units of one expert.
        activation: nonlinearity; see `activations.get`.
        expert_dropout_rate: dropout between activation and `wo`, element by element, in
            training (arXiv:2101.03961, section 2.5: "expert dropout").
        use_bias: adds biases `bi` and `bo`, as Model Garden's experts have.
        init_scale: scale of the initializer, `ScaledTruncatedNormal`.

    Call arguments:
        rows: `(N, R, D)` floating point.
        owner: `(N,)` int32, the expert of each block; `None`: N is E, block e belongs
            to expert e.
        training: whether to drop.

    Returns:
        `(N, R, D)` in the compute dtype.

    Raises:
        ValueError: if a size is not positive or a rate not in [0, 1).
    """

    lora_axes: ClassVar = {"wi": (1, 1), "wo": (1, 1)}

    def __init__(
        self,
        num_experts,
        d_ff,
        activation="relu",
        expert_dropout_rate=0.0,
        use_bias=False,
        init_scale=0.1,
        **kwargs,
    ):
        super().__init__(
            num_experts, d_ff, activation, expert_dropout_rate, init_scale, **kwargs
        )
        self.use_bias = use_bias

    def build(self, input_shape):
        super().build(input_shape)
        self.bi = self.bo = None
        if self.use_bias:
            zeros, d_model = keras.initializers.Zeros(), input_shape[-1]
            self.bi = self._add("bi", (self.num_experts, self.d_ff), ("d_ff",), zeros)
            self.bo = self._add("bo", (self.num_experts, d_model), ("d_model",), zeros)
        self._build_lora()

    def call(self, rows, owner=None, training=False):
        rows = super().call(rows, owner, training)
        return self._biased(rows, self.bo, owner)

    def _inputs_named(self):
        return ("wi",)

    def _hidden(self, rows, owner):
        hidden = self._product(rows, "wi", owner)
        return self.activation(self._biased(hidden, self.bi, owner))

    def _biased(self, rows, bias, owner):
        if bias is None:
            return rows
        bias = self._of_blocks(bias, owner, rows.dtype)
        return rows + ops.expand_dims(bias, 1)


@keras.saving.register_keras_serializable("keras_switch")
class GatedExperts(_Experts):
    """Gated experts: `(activation(rows @ wi_0) * (rows @ wi_1)) @ wo`, as in T5 v1.1.

    Args:
        num_experts: E.
        d_ff: F, hidden units of one expert.
        activation: nonlinearity of the gate; see `activations.get`.
        expert_dropout_rate: dropout before `wo`, element by element, in training.
        init_scale: scale of the initializer, `ScaledTruncatedNormal`.

    Call arguments:
        rows: `(N, R, D)` floating point.
        owner: `(N,)` int32, the expert of each block; `None`: N is E, block e belongs
            to expert e.
        training: whether to drop.

    Returns:
        `(N, R, D)` in the compute dtype.

    Raises:
        ValueError: if a size is not positive or a rate not in [0, 1).
    """

    lora_axes: ClassVar = {"wi_0": (1, 1), "wi_1": (1, 1), "wo": (1, 1)}

    def __init__(
        self,
        num_experts,
        d_ff,
        activation="gelu",
        expert_dropout_rate=0.0,
        init_scale=0.1,
        **kwargs,
    ):
        super().__init__(
            num_experts, d_ff, activation, expert_dropout_rate, init_scale, **kwargs
        )

    def build(self, input_shape):
        super().build(input_shape)
        self._build_lora()

    def _inputs_named(self):
        return ("wi_0", "wi_1")

    def _hidden(self, rows, owner):
        gate = self.activation(self._product(rows, "wi_0", owner))
        return gate * self._product(rows, "wi_1", owner)


def check_positive(layer, **sizes):
    """Raises `ValueError` unless every size is a positive whole number."""
    wrong = {k: v for k, v in sizes.items() if not (v == int(v) and v > 0)}
    if wrong:
        given = ", ".join(f"{name}={size}" for name, size in wrong.items())
        raise ValueError(
            f"{layer.name!r} got {given}: sizes are positive whole numbers."
        )
