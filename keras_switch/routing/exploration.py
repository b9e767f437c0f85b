"""Exploration: how a router tries experts other than the one it likes best.

All act in training only. Sources: Switch Transformer, arXiv:2101.03961, appendix C;
Mesh TensorFlow, `_switch_gating`; V-MoE, arXiv:2106.05974, section 2.2.

Axes: G routing groups, S tokens in a group, D model width, E experts.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing.part import Part, at_least


@dataclasses.dataclass(frozen=True)
class Exploration(Part):
    """Base of all explorations; itself it changes nothing."""

    def perturb(self, x, seed):
        """Returns the router's copy of the inputs, `(G, S, D)` float32."""
        return x

    def noisy(self, logits, seed):
        """Returns the logits that decide and gate, `(G, S, E)` float32."""
        return logits

    def scores(self, logits, seed):
        """Returns the scores by which tokens pick experts; gates do not see them."""
        return logits


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Argmax(Exploration):
    """No exploration: the most probable expert."""


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class InputJitter(Exploration):
    """The router's copy of the inputs times uniform noise of mean 1, per element.

    Args:
        eps: the noise is uniform on [1 - eps, 1 + eps].
    """

    eps: float = 1e-2

    def __post_init__(self):
        at_least(self, "eps", self.eps, 0)

    def perturb(self, x, seed):
        noise = keras.random.uniform(
            ops.shape(x), 1 - self.eps, 1 + self.eps, dtype="float32", seed=seed
        )
        return x * noise


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class InputDropout(Exploration):
    """Dropout on the router's copy of the inputs, the rest scaled up.

    Args:
        rate: share of the elements set to 0.
    """

    rate: float = 0.1

    def __post_init__(self):
        if not 0 <= self.rate < 1:
            raise ValueError(f"InputDropout got rate={self.rate}: give 0 <= rate < 1.")

    def perturb(self, x, seed):
        return keras.random.dropout(x, self.rate, seed=seed)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class Sample(Exploration):
    """Tokens draw their expert from softmax(logits / temperature).

    Several choices are drawn without replacement (Gumbel top-k). The gate is the
    expert's probability at temperature 1.

    Args:
        temperature: above 1 explores more, towards 0 less.
    """

    temperature: float = 1.0

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(
                f"Sample got temperature={self.temperature}: give a positive number, "
                "or use Argmax()."
            )

    def scores(self, logits, seed):
        shape = ops.shape(logits)
        u = keras.random.uniform(shape, 1e-20, 1.0, dtype="float32", seed=seed)
        return logits / self.temperature - ops.log(-ops.log(u))


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class LogitNoise(Exploration):
    """V-MoE's noisy gating: softmax(logits + N(0, (std / E)^2)).

    Args:
        std: standard deviation, in units of 1 / E.
    """

    std: float = 1.0

    def __post_init__(self):
        at_least(self, "std", self.std, 0)

    def noisy(self, logits, seed):
        noise = keras.random.normal(ops.shape(logits), dtype="float32", seed=seed)
        return logits + self.std / logits.shape[-1] * noise
