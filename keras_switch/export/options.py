"""What an exported model can be asked, and how much of it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras_hub

from keras_switch.export.int8 import AsTrained, Int8
from keras_switch.models.decoding import Generation, check

INPUT_LENGTHS = (32, 64, 128, 256, 512)


@dataclasses.dataclass(frozen=True)
class Serving:
    """How a SavedModel answers.

    Args:
        sampler: name or `keras_hub.samplers.Sampler`, also `models.BeamSearch`.
        input_lengths: lengths to which inputs are padded, in tokens: each request gets
            the first that holds its longest input. Text is cut at the last one; longer
            token ids are refused.
        max_new_tokens: tokens of an answer, at most.
        min_new_tokens: tokens before a stop token may come.
        stop_token_ids: ids that end an answer.
        max_batch_size: inputs of a request, for the batching config and for warm-up;
            the model itself takes any number.
        weights: `AsTrained()`, or `Int8()`: 8-bit integers, experts included, routers
            never.
        warm_up: whether to write requests that the server runs before it says that it
            is ready.

    Raises:
        ValueError: naming every mistake at once.
    """

    sampler: Any = "greedy"
    input_lengths: Sequence[int] = INPUT_LENGTHS
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    stop_token_ids: tuple[int, ...] = (1,)
    max_batch_size: int = 32
    weights: AsTrained | Int8 = AsTrained()
    warm_up: bool = True

    def __post_init__(self):
        mistakes = [*self._mistakes()]
        if mistakes:
            raise ValueError(f"Serving: {'; '.join(mistakes)}")

    def generation(self) -> Generation:
        """Returns what `generate` is asked for.

        Raises:
            ValueError: if the sampler cannot do it.
        """
        options = Generation(
            keras_hub.samplers.get(self.sampler),
            min_new_tokens=self.min_new_tokens,
            max_new_tokens=self.max_new_tokens,
            scores=True,
        )
        check(options)
        return options

    def _mistakes(self):
        yield from mistakes_in(self.input_lengths)
        for name, least in (("max_new_tokens", 1), ("max_batch_size", 1)):
            if getattr(self, name) < least:
                yield f"{name}={getattr(self, name)}: give at least {least}"
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            yield (
                f"min_new_tokens={self.min_new_tokens}: give a number from 0 to "
                f"max_new_tokens={self.max_new_tokens}"
            )


def mistakes_in(input_lengths):
    """Yields what is wrong with the lengths to which inputs are padded."""
    lengths = list(input_lengths)
    if not lengths or lengths != sorted(set(lengths)) or lengths[0] < 2:
        yield (
            f"input_lengths={input_lengths}: give lengths from 2 on, each greater than "
            "the one before"
        )
