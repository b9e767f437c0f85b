"""How beam search weighs lengths, and when it ends: option objects of `BeamSearch`."""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_switch.routing.part import Part

NEVER = -1e9  # Hugging Face's, too: finite, so that a sum of two is still a number


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class LengthPower(Part):
    """Divides by `length ** exponent`, as Hugging Face's `length_penalty` does.

    Args:
        exponent: 0 compares log-likelihoods, 1 those of a token; above that long
            sequences win.
    """

    exponent: float = 1.0

    def __call__(self, length):
        """Returns the divisor for lengths, float32, the stop token included."""
        return ops.power(length, self.exponent)

    @property
    def favours_length(self):
        """Whether a longer sequence of the same log-likelihood scores higher."""
        return self.exponent > 0


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class T5LengthPenalty(Part):
    """Divides by `((5 + length) / 6) ** alpha`, as T5 in Mesh TensorFlow does.

    arXiv:1609.08144, equation 14.

    Args:
        alpha: 0.6 in T5's runs of translation and summarization.
    """

    alpha: float = 0.6

    def __call__(self, length):
        """Returns the divisor for lengths, float32, the stop token included."""
        return ops.power((5.0 + length) / 6.0, self.alpha)

    @property
    def favours_length(self):
        """Whether a longer sequence of the same log-likelihood scores higher."""
        return self.alpha > 0


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class WhenUnlikely(Part):
    """Ends when the best running sequence, ending now, would not be among the best.

    Hugging Face's `early_stopping=False`.
    """

    when_full: ClassVar[bool] = False
    """Whether to end as soon as there are as many finished sequences as beams."""

    def length(self, length, longest, penalty):
        """Returns the length at which running sequences are compared with finished."""
        return length

    def worst(self, scores, is_finished):
        """Returns what a running sequence has to be better than at any of N places.

        Args:
            scores: `(B, N)`, of the finished sequences.
            is_finished: `(B, N)` bool, the places that are taken.
        """
        worst = ops.min(scores, axis=-1, keepdims=True)
        return ops.where(is_finished, worst, NEVER)


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class WhenFull(WhenUnlikely):
    """Ends when as many sequences as beams are finished.

    Hugging Face's `early_stopping=True`.
    """

    when_full: ClassVar[bool] = True


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class WhenImpossible(WhenUnlikely):
    """Ends when no running sequence can become one of the best, at any length.

    Hugging Face's `early_stopping="never"`; T5X's rule.
    """

    def length(self, length, longest, penalty):
        """Returns the length at which running sequences are compared with finished."""
        return longest if penalty.favours_length else length


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class WhenBestIsSure(WhenImpossible):
    """Ends when no running sequence can beat the finished ones, however few.

    Mesh TensorFlow's rule, which returns the best sequence alone. That one is the same
    as by `WhenImpossible()`; the places behind it may stay empty.
    """

    def worst(self, scores, is_finished):
        """See `WhenUnlikely.worst`; scores are logarithms and so at most 0."""
        worst = ops.where(is_finished, scores, 0.0)
        worst = ops.min(worst, axis=-1, keepdims=True)
        some = ops.any(is_finished, axis=-1, keepdims=True)
        return ops.where(some, worst, NEVER)
