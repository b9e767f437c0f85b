"""The parts of a model config: frozen data that says what, never how.

Each part is equal by value and saved by Keras; `assembly.py` turns it into layers.
"""

import dataclasses

import keras

from keras_switch.routing.part import Part


def part(cls):
    """Makes `cls` a frozen dataclass that Keras can save."""
    frozen = dataclasses.dataclass(frozen=True)(cls)
    return keras.saving.register_keras_serializable("keras_switch")(frozen)


@part
class RelativePosition(Part):
    """T5's learned bias by bucketed distance, one table a stack.

    Source: arXiv:1910.10683, section 2.1.

    Args:
        num_buckets: distances that have a bias of their own.
        max_distance: tokens; all farther ones share the last bucket.
    """

    num_buckets: int = 32
    max_distance: int = 128

    def mistakes(self):
        if self.num_buckets < 2 or self.num_buckets % 2:
            yield (
                f"RelativePosition.num_buckets={self.num_buckets}: "
                "give an even number from 2"
            )
        elif self.max_distance <= self.num_buckets // 2:
            yield (
                f"RelativePosition.max_distance={self.max_distance} must be above half "
                f"of num_buckets={self.num_buckets}, which are exact distances"
            )


@part
class RotaryPosition(Part):
    """Rotates queries and keys by their position (arXiv:2104.09864).

    Args:
        max_wavelength: tokens, the slowest rotation.
    """

    max_wavelength: float = 10_000.0

    def mistakes(self):
        if self.max_wavelength <= 1:
            yield f"RotaryPosition.max_wavelength={self.max_wavelength}: give over 1"


@part
class SelfAttention(Part):
    """Tokens are mixed by attention with the config's heads."""


@part
class Fourier(Part):
    """Tokens are mixed by a Fourier transform, without weights (arXiv:2105.03824).

    It mixes all examples of a row: give one example a row, `DataConfig(pack=False)`.
    """


@part
class PlainMlp(Part):
    """Two projections, dense or in every expert.

    Args:
        activation: what `layers.activations.get` takes: a name, or a function.
    """

    activation: str = "relu"


@part
class GatedMlp(Part):
    """Three projections: `wo(activation(wi_0 x) * wi_1 x)` (arXiv:2002.05202).

    Args:
        activation: as above: `"gelu"` (tanh form) is GEGLU, `"silu"` SwiGLU.
    """

    activation: str = "gelu"


@part
class Serial(Part):
    """Mixing first, then the MLP on its result."""


@part
class Parallel(Part):
    """Mixing and MLP side by side on one norm, as in PaLM (arXiv:2204.02311)."""
