"""Cases of this library's layers, forward and backward.

Axes: B batch, L length, D d_model, E experts.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from benchmarks.common import Case
from keras_switch import dispatch, layers, routing

tf.get_logger().setLevel("ERROR")  # every case traces a step of its own: no retracing


@dataclasses.dataclass(frozen=True)
class Point:
    """Sizes of a layer and of its inputs.

    Args:
        tokens: B * L.
        num_experts: E.
        length: L.
        d_model, d_ff: widths.
        capacity: rows of all experts, as a multiple of the tokens.
    """

    tokens: int
    num_experts: int
    length: int = 512
    d_model: int = 512
    d_ff: int = 2048
    capacity: float = 1.25

    @property
    def shape(self):
        return (self.tokens // self.length, self.length, self.d_model)

    @property
    def routing(self):
        return routing.Switch(
            capacity=routing.CapacityFactor(self.capacity),
            exploration=routing.Argmax(),
        )

    @property
    def rows(self):
        """Rows of one expert, all groups together."""
        rows = self.routing.rows(self.length, self.num_experts, True)
        return rows * self.shape[0]


def batches(shape, count=4):
    """Returns pairs `(x, weights of the loss)` of NumPy arrays; rounds take turns."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    return [[draw(shape, "float32") for _ in range(2)] for _ in range(count)]


def dense(point):
    """Returns the case of the dense twin, whose FLOPs a token are the same."""
    return _case("dense", layers.FeedForward(point.d_ff), point)


class Shared:
    """The sparse layer in its forms, on the same weights.

    Args:
        point: sizes.
    """

    def __init__(self, point):
        self.point = point
        self.experts = layers.Experts(point.num_experts, point.d_ff)
        self.router = layers.Router(point.num_experts)

    def case(self, name, dispatcher, groups=None, jit_compile=False):
        """Returns a case of these experts behind another dispatcher or groups."""
        layer = layers.SwitchFeedForward(
            self.point.num_experts,
            self.point.d_ff,
            routing=self.point.routing,
            dispatch=dispatcher,
            groups=groups or dispatch.BySequence(),
            experts=self.experts,
            router=self.router,
        )
        return _case(name, layer, self.point, jit_compile)


def _case(name, layer, point, jit_compile=False):
    layer.build(point.shape)
    variables = [v.value for v in layer.trainable_variables]

    def forward(x):
        y = layer(x, training=True)
        return y, layer.losses

    return tensorflow_case(name, forward, variables, point.shape, jit_compile)


def tensorflow_case(name, forward, variables, shape, jit_compile=False):
    """Returns a case: loss, and its gradients for the inputs and all weights.

    Args:
        name: the case's.
        forward: from inputs to outputs and a list of further losses.
        variables: weights to differentiate by.
        shape: of the inputs.
        jit_compile: whether XLA compiles the step.
    """
    data = [[tf.constant(x) for x in pair] for pair in batches(shape)]

    @tf.function(jit_compile=jit_compile)
    def step(x, weights):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, losses = forward(x)
            loss = tf.add_n([tf.reduce_sum(y * weights), *losses])
        return loss, tape.gradient(loss, [x, *variables])

    def run(i):
        loss, gradients = step(*data[i % len(data)])
        # One number of each gradient: it must be there to be read.
        return float(loss) + sum(float(tf.reshape(g, [-1])[0]) for g in gradients)

    return Case(name, run)
