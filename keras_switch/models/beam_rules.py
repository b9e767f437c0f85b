"""What three libraries do at a step of beam search: option objects of `BeamSearch`.

Axes: B batch, N beams, M continuations, L length, V vocabulary.
"""

import dataclasses
from typing import ClassVar

import keras
from keras import ops

from keras_switch.models.beam_parts import NEVER
from keras_switch.routing.part import Part, at_least


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class HuggingFaceRule(Part):
    """Hugging Face's: finished are sequences that end, and those that are cut off.

    An end counts if it is among the N likeliest continuations. A sequence at the
    longest length is finished as it is.
    """

    never: ClassVar[float] = NEVER
    """The log-likelihood of what is impossible."""

    def grown(self, logits, scores):
        """Returns the log-likelihoods of all continuations, `(B, N, V)` float32.

        Args:
            logits: `(B, N, V)` float32.
            scores: `(B, N)` float32, the log-likelihoods of the running sequences.
        """
        return ops.log_softmax(logits) + scores[..., None]

    def best(self, logs, penalty, most):
        """Returns scores, beams and tokens of the likeliest continuations, `(B, M)`.

        Args:
            logs: `(B, N, V)` float32, log-likelihoods of all.
            penalty: `(B, 1)` float32, the length penalty of all.
            most: M.
        """
        del penalty
        size = logs.shape[-1]
        logs = ops.reshape(logs, (-1, logs.shape[1] * size))
        scores, at = ops.top_k(logs, min(most, logs.shape[1]))
        return scores, at // size, at % size

    def ends(self, stops, cut):
        """Returns which continuations do not go on, `(B, M)` bool.

        Args:
            stops: `(B, M)` bool, whether each is a stop token.
            cut: `(B, 1)` bool, whether there is no room behind it.
        """
        return ops.logical_or(stops, cut)

    def counts(self, ends, scores, num_beams):
        """Returns which continuations, likeliest first, may be finished, `(B, M)` bool.

        Args:
            ends: what `ends` returned.
            scores: `(B, M)`, their log-likelihoods.
            num_beams: N.
        """
        del scores
        return ops.logical_and(ends, ops.arange(ends.shape[1]) < num_beams)

    def ordered(self, x):
        """Returns `x (B, N, ...)` of the running sequences, best first, in their order.

        Beams compete for the places of experts in this order.
        """
        return x

    def result(self, state):
        """Returns sequences `(B, N, L)` and scores `(B, N)` of a search's last state.

        Args:
            state: see `beam_search`.
        """
        return state["finished"], state["finished_scores"]


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class T5XRule(HuggingFaceRule):
    """T5X's: finished are sequences that end, and any goes before all others.

    Every end among the 2N likeliest continuations counts. So one beam is not greedy: an
    end that is second best is set aside, and may win. Where nothing ended, the running
    sequences are returned, with log-likelihoods that no penalty divides. Places that
    nothing took score -1e7. The best beam comes last where experts drop tokens.
    """

    never: ClassVar[float] = -1e7

    def ends(self, stops, cut):
        del cut
        return stops

    def counts(self, ends, scores, num_beams):
        """See `HuggingFaceRule`; an end that is impossible does not count."""
        del num_beams
        return ops.logical_and(ends, scores > 0.5 * self.never)

    def ordered(self, x):
        return ops.flip(x, axis=1)

    def result(self, state):
        some = ops.any(state["is_finished"], axis=-1, keepdims=True)  # (B, 1)
        running = self.ordered(state["running_scores"])
        scores = ops.where(some, state["finished_scores"], running)
        running = self.ordered(state["running"])
        return ops.where(some[..., None], state["finished"], running), scores


@keras.saving.register_keras_serializable("keras_switch")
@dataclasses.dataclass(frozen=True)
class MeshTensorFlowRule(T5XRule):
    """Mesh TensorFlow's: as T5X's, but of each beam only the best tokens are looked at.

    Its comment calls that "a theoretically lossy shortcut". So the first step can fill
    two beams only. The others carry on with -1e7, to which their tokens' scores are
    rounded, so that those of the least ids are taken; if one of them ends, it is
    finished, and goes before all that did not end. The best beam comes first where
    experts drop tokens.

    Args:
        per_beam: tokens of each beam, its `num_prefilter`.

    Raises:
        ValueError: if there are fewer than two: all might be ends.
    """

    per_beam: int = 2

    def __post_init__(self):
        at_least(self, "per_beam", self.per_beam, 2)

    def grown(self, logits, scores):
        # In the order that TensorFlow's optimizer of graphs puts the additions in.
        return logits + (scores - ops.logsumexp(logits, axis=-1))[..., None]

    def best(self, logs, penalty, most):
        logs = logs / penalty[..., None]
        logs, tokens = ops.top_k(logs, min(self.per_beam, logs.shape[-1]))
        scores, beam, at = super().best(logs, penalty, most)
        tokens = ops.reshape(tokens, (-1, logs.shape[1] * logs.shape[2]))
        at = beam * logs.shape[2] + at
        return scores * penalty, beam, ops.take_along_axis(tokens, at, axis=1)

    def counts(self, ends, scores, num_beams):
        """See `HuggingFaceRule`; even an end that is impossible counts."""
        del scores, num_beams
        return ends

    def ordered(self, x):
        return x
