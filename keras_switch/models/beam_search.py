"""Beam search with a length penalty, as in T5 and in Hugging Face's library.

KerasHub's `BeamSampler` compares sums of log-probabilities, never sets a finished
sequence aside, and so prefers short answers or runs past their end. This one keeps
finished sequences apart and divides by their length (arXiv:1609.08144, section 7).

Axes: B batch, N beams, M continuations, L length, V vocabulary.
"""

import dataclasses
from typing import Any

import keras
import keras_hub
from keras import ops, tree

from keras_switch.models.beam_parts import LengthPower, WhenUnlikely
from keras_switch.models.beam_rules import HuggingFaceRule

_PARTS = ("length_penalty", "stopping", "rule")


@keras.saving.register_keras_serializable("keras_switch")
class BeamSearch(keras_hub.samplers.Sampler):
    """Searches the likeliest sequence for its length; a sampler for `generate`.

    Step by step what Hugging Face's `generate(num_beams=...)` does, or by its options
    what T5X and Mesh TensorFlow do: the same sequences with the same scores.

    Args:
        num_beams: N, sequences that are kept at each step.
        length_penalty: divisor of a finished sequence's log-likelihood by its length:
            `LengthPower()` (the default) or `T5LengthPenalty()`.
        stopping: when a search ends: `WhenUnlikely()` (the default), `WhenFull()`,
            `WhenImpossible()` or `WhenBestIsSure()`.
        rule: which continuations are looked at and which are finished:
            `HuggingFaceRule()` (the default), `T5XRule()` or `MeshTensorFlowRule()`.

    Raises:
        ValueError: if `num_beams` is not positive.

    Example:
    ```python
    beams = BeamSearch(4, T5LengthPenalty(0.6), WhenImpossible(), T5XRule())
    model.generate("translate English to German: That is good.", sampler=beams)
    ```
    """

    def __init__(self, num_beams=4, length_penalty=None, stopping=None, rule=None):
        super().__init__()
        if not (num_beams == int(num_beams) and num_beams > 0):
            raise ValueError(
                f"BeamSearch got num_beams={num_beams}: give a positive whole number."
            )
        self.num_beams = num_beams
        self.length_penalty = length_penalty or LengthPower()
        self.stopping = stopping or WhenUnlikely()
        self.rule = rule or HuggingFaceRule()

    def __call__(
        self,
        next,
        prompt,
        cache=None,
        index=0,
        mask=None,
        stop_token_ids=None,
        hidden_states=None,
        model=None,
    ):
        """Returns the best sequence of each row, `(B, L)`; see `Sampler`."""
        if mask is None:
            mask = ops.zeros_like(prompt, dtype="bool")
        sequences, _ = self.search(
            next, prompt, mask, cache, index, stop_token_ids, model=model
        )
        best, *_ = ops.unstack(sequences, axis=1)
        return best

    def search(
        self,
        next,
        prompt,
        mask,
        cache,
        index,
        stop_token_ids=None,
        min_new_tokens=0,
        max_new_tokens=None,
        model=None,
    ):
        """Returns the best sequences, best first, and their scores.

        Args:
            next: function of tokens `(B * N, L)`, cache and position to logits
                `(B * N, V)`, hidden states and cache.
            prompt: `(B, L)` int.
            mask: `(B, L)` bool, true for tokens of the prompt; these stay.
            cache: tensors whose first axis is the batch, or `None`.
            index: first position to fill, int.
            stop_token_ids: ids that end a sequence, or `None`.
            min_new_tokens: tokens before one of them may come.
            max_new_tokens: tokens that are added at most; `None`: as there is room.
            model: whose variables `next` reads; JAX must know.

        Returns:
            `(B, N, L)` int, 0 after the end; `(B, N)` float32, the log-likelihood of
            what was added, by the length penalty.
        """
        limits = min_new_tokens, max_new_tokens
        search = _Search(self, next, prompt, mask, tuple(stop_token_ids or ()), limits)
        _, _, state = self.run_loop(
            search.goes_on,
            search.step,
            loop_vars=(ops.cast(index, "int32"), search.cache(cache), search.start()),
            model=model,
        )
        return self.rule.result(state)

    def get_config(self):
        save = keras.saving.serialize_keras_object
        parts = {name: save(getattr(self, name)) for name in _PARTS}
        return {"num_beams": self.num_beams, **parts}

    @classmethod
    def from_config(cls, config):
        revive = keras.saving.deserialize_keras_object
        parts = {name: revive(config[name]) for name in _PARTS}
        return cls(**{**config, **parts})


class _Search:
    """One search: what does not change from step to step.

    Args:
        options: `BeamSearch`.
        next, prompt, mask, stop_token_ids: see `BeamSearch.search`.
        limits: `min_new_tokens` and `max_new_tokens`.
    """

    def __init__(self, options, next, prompt, mask, stop_token_ids, limits):
        self.options, self.rule = options, options.rule
        self.beams = options.num_beams
        self.next = next
        self.mask = ops.cast(mask, "bool")
        self.prompt = prompt * ops.cast(self.mask, prompt.dtype)
        self.stops = stop_token_ids
        self.min_new_tokens, most = limits
        self.rows, self.length = ops.shape(prompt)
        prompt_length = ops.sum(ops.cast(self.mask, "int32"), axis=-1, keepdims=True)
        self.prompt_length = ops.maximum(prompt_length, 1)  # (B, 1)
        room = self.length - self.prompt_length
        self.most = room if most is None else ops.minimum(room, most)  # (B, 1)

    def cache(self, cache):
        """Returns a cache with each row N times."""
        return tree.map_structure(self._repeated, () if cache is None else cache)

    def start(self):
        """Returns the state before the first step.

        `running (B, N, L)` and `running_scores (B, N)`: sequences that go on and their
        log-likelihoods; of the copies of the prompt only the first counts.
        `finished`, `finished_scores` and `is_finished (B, N)`: those at their end, best
        first, and the places that are taken. `improves (B, 1)`: whether a running
        sequence may still become better than those.
        """
        running = ops.reshape(
            self._repeated(self.prompt), (-1, self.beams, self.length)
        )
        first = ops.arange(self.beams) == 0
        scores = ops.zeros((self.rows, self.beams), "float32")
        return {
            "running": running,
            "running_scores": ops.where(first, scores, self.rule.never),
            "finished": running,
            "finished_scores": scores + self.rule.never,
            "is_finished": ops.zeros((self.rows, self.beams), "bool"),
            "improves": ops.ones((self.rows, 1), "bool"),
        }

    def goes_on(self, index, cache, state):
        """Returns whether there is another step to make."""
        some = ops.any(state["improves"])
        if self.options.stopping.when_full:
            full = ops.all(state["is_finished"])
            some = ops.logical_and(some, ops.logical_not(full))
        return ops.logical_and(index < self.length, some)

    def step(self, index, cache, state):
        """Returns index, cache and state with one token more."""
        tokens = ops.reshape(state["running"], (-1, self.length))
        logits, _, after = self.next(tokens, cache, index)
        candidates = self._candidates(index, logits, state)
        kept, running = self._running(candidates)
        cache = tree.map_structure(
            # What a step leaves untouched is the same for all beams of a row.
            lambda old, new: new if new is old else ops.take(new, kept, axis=0),
            cache,
            after,
        )
        finished = self._finished(index, candidates, state)
        improves = self._improves(index + 1, running, finished, state)
        new = {**running, **finished, "improves": improves}
        return index + 1, cache, self._where_room(index, new, state)

    def _where_room(self, index, new, state):
        """Returns the new state; rows that were at their longest stay as they were."""
        room = index - self.prompt_length < self.most  # (B, 1)
        return {
            name: ops.where(room if len(x.shape) == 2 else room[..., None], x, old)
            for name, x, old in ((name, new[name], state[name]) for name in new)
        }

    def _candidates(self, index, logits, state):
        """Returns the M likeliest continuations of the running sequences."""
        logits = ops.cast(logits, "float32")
        logits = ops.reshape(logits, (-1, self.beams, logits.shape[-1]))
        logs = self.rule.grown(logits, state["running_scores"])
        logs = self._allowed(index, logs, state["running_scores"])
        most = max(2, 1 + len(self.stops)) * self.beams
        penalty = self._penalty(self._new_tokens(index))
        scores, beam, token = self.rule.best(logs, penalty, most)  # (B, M)
        in_prompt, given = self._given(index)
        token = ops.where(in_prompt, given, ops.cast(token, given.dtype))
        tokens = ops.expand_dims(token, 2)
        here = ops.equal(ops.arange(self.length), index)
        sequences = ops.where(here, tokens, self._picked(state["running"], beam))
        stops = ops.zeros_like(token, dtype="bool")
        for stop in self.stops:
            stops = ops.logical_or(stops, ops.equal(token, stop))
        free = ops.logical_not(in_prompt)
        cut = ops.logical_and(free, index + 1 - self.prompt_length >= self.most)
        cut = ops.logical_or(cut, index + 1 >= self.length)
        ends = self.rule.ends(ops.logical_and(stops, free), cut)
        return _Candidates(sequences, scores, self._flat(beam, self.beams), ends)

    def _allowed(self, index, logs, scores):
        """Returns log-likelihoods of what may come: the prompt where it goes on."""
        vocab_size = logs.shape[-1]
        if self.stops and self.min_new_tokens:
            stops = ops.sum(ops.one_hot(list(self.stops), vocab_size), axis=0)
            early = index - self.prompt_length < self.min_new_tokens  # (B, 1)
            logs = (
                logs + self.rule.never * ops.cast(early, "float32")[..., None] * stops
            )
        in_prompt, given = self._given(index)
        only = self.rule.never * (1 - ops.one_hot(given, vocab_size))  # (B, 1, V)
        return ops.where(in_prompt[..., None], only + scores[..., None], logs)

    def _running(self, candidates):
        """Returns which N of the running sequences go on, and what they become."""
        ends = ops.cast(candidates.ends, "float32")
        scores = candidates.scores + self.rule.never * ends
        scores, best = map(self.rule.ordered, ops.top_k(scores, self.beams))
        beams = ops.take(candidates.beam, self._flat(best, candidates.scores.shape[1]))
        sequences = self._picked(candidates.sequences, best)
        return beams, {"running": sequences, "running_scores": scores}

    def _finished(self, index, candidates, state):
        """Returns the best N of the finished sequences and those that end now."""
        scores = candidates.scores / self._penalty(self._new_tokens(index))
        counts = self.rule.counts(candidates.ends, candidates.scores, self.beams)
        barred = [ops.logical_not(counts), ops.logical_not(state["improves"])]
        if self.options.stopping.when_full:
            barred.append(ops.all(state["is_finished"], axis=-1, keepdims=True))
        for never in barred:
            scores = scores + self.rule.never * ops.cast(never, "float32")
        parts = ("finished", candidates.sequences), ("finished_scores", scores)
        merged = {
            name: ops.concatenate([state[name], new], axis=1)
            for name, new in (*parts, ("is_finished", counts))
        }
        _, best = ops.top_k(merged["finished_scores"], self.beams)
        return {name: self._picked(value, best) for name, value in merged.items()}

    def _improves(self, index, running, finished, state):
        """Returns whether a sequence that goes on may yet be among the best, (B, 1)."""
        new_tokens = index - self.prompt_length
        stopping, penalty = self.options.stopping, self.options.length_penalty
        length = stopping.length(new_tokens, self.most, penalty)
        best = ops.max(running["running_scores"], axis=-1, keepdims=True)
        best = best / self._penalty(ops.maximum(length, 1))
        worst = stopping.worst(finished["finished_scores"], finished["is_finished"])
        better = ops.any(best > worst, axis=-1, keepdims=True)
        better = ops.logical_and(better, new_tokens < self.most)
        return ops.logical_and(state["improves"], better)

    def _new_tokens(self, index):
        """Returns how many tokens are new with the one at `index`, (B, 1)."""
        return ops.maximum(index + 1 - self.prompt_length, 1)

    def _penalty(self, length):
        return self.options.length_penalty(ops.cast(length, "float32"))

    def _given(self, index):
        """Returns whether `index` is in each prompt, and its token there, `(B, 1)`."""
        here = ops.equal(ops.arange(self.length), index)
        in_prompt = ops.any(ops.logical_and(self.mask, here), axis=-1, keepdims=True)
        here = ops.cast(here, self.prompt.dtype)
        return in_prompt, ops.sum(self.prompt * here, axis=-1, keepdims=True)

    def _repeated(self, x):
        return ops.repeat(x, self.beams, axis=0)

    def _flat(self, places, size):
        """Returns places `(B, ...)` among `size` of a row as ones among all, flat."""
        rows = ops.arange(self.rows, dtype="int32")[..., None]
        return ops.reshape(rows * size + ops.cast(places, "int32"), (-1,))

    def _picked(self, x, places):
        """Returns `x (B, M, ...)` at `places (B, N)`, `(B, N, ...)`."""
        rest, size = ops.shape(x)[2:], ops.shape(x)[1]
        x = ops.take(ops.reshape(x, (-1, *rest)), self._flat(places, size), axis=0)
        return ops.reshape(x, (-1, places.shape[1], *rest))


@dataclasses.dataclass(frozen=True)
class _Candidates:
    """Continuations, likeliest first.

    Args:
        sequences: `(B, M, L)` int.
        scores: `(B, M)` float32, log-likelihoods.
        beam: `(B * M,)` int32, the running sequence each comes from, among B * N.
        ends: `(B, M)` bool, whether a sequence ends with it.
    """

    sequences: Any
    scores: Any
    beam: Any
    ends: Any
