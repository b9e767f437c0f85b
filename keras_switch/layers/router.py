"""The router: how much each token likes each expert.

Axes: G routing groups, S tokens in a group, D model width, E experts.
"""

import keras
from keras import ops

from keras_switch.layers.base import Layer
from keras_switch.layers.experts import check_positive
from keras_switch.layers.initializers import ScaledTruncatedNormal
from keras_switch.partitioning import constrain, gathered


@keras.saving.register_keras_serializable("keras_switch")
class Router(Layer):
    """A linear map to logits, in float32 under every dtype policy.

    "Selective precision" (arXiv:2101.03961, section 2.4): weights are stored, read and
    multiplied in float32, even where Keras casts everything else to bfloat16.

    Args:
        num_experts: E.
        use_bias: adds a weight `bias`.
        init_scale: scale of the initializer, `ScaledTruncatedNormal`.

    Call arguments:
        x: `(G, S, D)` floating point.

    Returns:
        `(G, S, E)` float32 logits.

    Raises:
        ValueError: if `num_experts` is not positive.
    """

    def __init__(self, num_experts, use_bias=False, init_scale=0.1, **kwargs):
        # Without autocast Keras leaves the inputs as they come.
        super().__init__(autocast=False, **kwargs)
        check_positive(self, num_experts=num_experts)
        self.num_experts = num_experts
        self.use_bias = use_bias
        self.init_scale = init_scale

    def build(self, input_shape):
        d_model, num_experts = input_shape[-1], self.num_experts
        # A cast back to float32 cannot undo Keras's autocast of the variable.
        islands = {"dtype": "float32", "autocast": False}
        # Whole on every device: a token's choice needs the logits of all experts.
        self.kernel = self.add_param(
            "kernel",
            (d_model, num_experts),
            ("d_model", "experts_unsplit"),
            ScaledTruncatedNormal(self.init_scale),
            **islands,
        )
        self.bias = None
        if self.use_bias:
            zeros = keras.initializers.Zeros()
            self.bias = self.add_param(
                "bias", (num_experts,), ("experts_unsplit",), zeros, **islands
            )

    def call(self, x):
        logits = ops.matmul(ops.cast(x, "float32"), gathered(self.kernel))
        logits = logits if self.bias is None else logits + self.bias
        # Of each token the logits of all experts, on the device that has the token.
        return constrain(logits, "batch", None, None)

    def compute_output_spec(self, x):
        shape = (*x.shape[:-1], self.num_experts)
        return keras.KerasTensor(shape, dtype="float32")
