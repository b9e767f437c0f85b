"""When a token that asks for several experts goes on to its second one (GShard).

Sources: GShard, arXiv:2006.16668, section 2.2; Mesh TensorFlow, `_top_2_gating`.
"""

import dataclasses

import keras
from keras import ops

from keras_switch.routing.part import Part, at_least


@dataclasses.dataclass(frozen=True)
class SecondPolicy(Part):
    """Base; says which of the choices after the first are asked for."""

    def asked(self, gate, seed):
        """Returns bool like `gate`, the normalised gates after the first."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class AllSeconds(SecondPolicy):
    """All of them."""

    def asked(self, gate, seed):
        return ops.ones_like(gate, dtype="bool")


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class NoSeconds(SecondPolicy):
    """None of them; the first gate stays normalised by all."""

    def asked(self, gate, seed):
        return ops.zeros_like(gate, dtype="bool")


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class ThresholdSeconds(SecondPolicy):
    """Those whose gate is above the threshold.

    Args:
        threshold: on the normalised gate.
    """

    threshold: float = 0.2

    def __post_init__(self):
        at_least(self, "threshold", self.threshold, 0)

    def asked(self, gate, seed):
        return ops.greater(gate, self.threshold)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class RandomSeconds(SecondPolicy):
    """With probability gate / threshold; surely from the threshold on.

    Args:
        threshold: on the normalised gate.
    """

    threshold: float = 0.2

    def __post_init__(self):
        at_least(self, "threshold", self.threshold, 0)

    def asked(self, gate, seed):
        u = keras.random.uniform(ops.shape(gate), dtype="float32", seed=seed)
        return ops.less(u, gate / max(self.threshold, 1e-9))
