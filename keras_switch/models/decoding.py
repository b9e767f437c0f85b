"""What both language models share when they generate.

Axes: B batch, N samples of a row, L length.
"""

import contextlib
import dataclasses
import functools
from typing import Any

import keras_hub
from keras import ops, tree

from keras_switch.dispatch import InTurnDispatch
from keras_switch.layers import SwitchFeedForward
from keras_switch.models.beam_search import BeamSearch
from keras_switch.models.sampling import generated_mask, sampled


@dataclasses.dataclass(frozen=True)
class Generation:
    """What a call of `generate` asks for.

    Args:
        sampler: `keras_hub.samplers.Sampler`.
        num_samples: N, sequences for each row of the batch.
        min_new_tokens: tokens before a stop token may come.
        max_new_tokens: tokens that are written at most; `None`: as there is room.
        scores: whether to tell how likely what was written is.
    """

    sampler: Any
    num_samples: int = 1
    min_new_tokens: int = 0
    max_new_tokens: int | None = None
    scores: bool = False


def sparse_layers(model) -> list:
    """Returns the `SwitchFeedForward` layers of a model, first to last."""
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, SwitchFeedForward)]


@contextlib.contextmanager
def dropless(model):
    """Makes sparse layers drop no token, so that a row never depends on the batch.

    Layers that were given an `eval_dispatch` keep it, and so do those whose experts
    choose: they need a capacity. Nothing is counted in the metrics of any layer.
    """
    layers = sparse_layers(model)
    changed = [x for x in layers if x.eval_dispatch is None and x.routing.causal]
    for layer in changed:
        layer.eval_dispatch = InTurnDispatch()
    for layer in layers:
        layer.counting = False
    try:
        yield
    finally:
        for layer in changed:
            layer.eval_dispatch = None
        for layer in layers:
            layer.counting = True


def generated(model, options, token_ids, prompt_mask, cache, stop_token_ids):
    """Returns what a language model writes, which tokens count, and scores.

    Tokens and mask are `(B, L)`, or `(B, N, L)` of several samples; scores `(B,)` or
    `(B, N)` float32, or `None` if the sampler tells none.

    Args:
        model: a language model, or what runs one on a mesh: it has a method
            `_decode(token_ids (B, Q), cache, index) -> logits, hidden states, cache`.
        options: `Generation`.
        token_ids: `(B, L)` int, the prompt and room for what follows.
        prompt_mask: `(B, L)` bool, true for tokens of the prompt.
        cache: of no token yet; tensors whose first axis is the batch.
        stop_token_ids: ids that end a sequence, or `None`.
    """
    prompt = token_ids * ops.cast(prompt_mask, token_ids.dtype)
    lengths = ops.sum(ops.cast(prompt_mask, "int32"), axis=-1, keepdims=True)
    lengths = ops.maximum(lengths, 1)  # of no prompt: the start token, 0
    state = model, options, prompt, prompt_mask, cache, lengths, stop_token_ids
    check(options)
    if isinstance(options.sampler, BeamSearch):
        token_ids, scores = _searched(*state)
    elif draws(options.sampler):
        token_ids, scores = _drawn(*state)
    else:
        token_ids, scores = _by_keras_hub(*state), None
    if token_ids.shape[1] == 1 and len(token_ids.shape) == 3:
        token_ids = ops.squeeze(token_ids, axis=1)
        scores = ops.squeeze(scores, axis=1)
    if len(token_ids.shape) == 3:
        prompt_mask = ops.expand_dims(prompt_mask, 1)
    mask = generated_mask(token_ids, prompt_mask, stop_token_ids)
    return token_ids, mask, scores


def draws(sampler):
    """Returns whether a sampler chooses token after token, without looking back."""
    return type(sampler).__call__ is keras_hub.samplers.Sampler.__call__


def check(options):
    """Raises `ValueError` if a sampler cannot do what is asked of it."""
    sampler, name = options.sampler, type(options.sampler).__name__
    greedy = type(sampler) is keras_hub.samplers.GreedySampler
    if isinstance(sampler, BeamSearch):
        if options.num_samples > sampler.num_beams:
            raise ValueError(
                f"generate got num_samples={options.num_samples}, but BeamSearch keeps "
                f"num_beams={sampler.num_beams}: ask for as many at most, or give it "
                "more beams."
            )
        return
    if greedy and options.num_samples > 1:
        raise ValueError(
            f"generate got num_samples={options.num_samples}, but the greedy sampler "
            "writes the same each time: use one that draws (sampler='top_p'), or "
            "BeamSearch."
        )
    if not (draws(sampler) or options == Generation(sampler)):
        raise ValueError(
            f"{name} of KerasHub gives one sequence without scores, of any length, but "
            f"generate was asked for {options}: use keras_switch.models.BeamSearch, or "
            "a sampler that draws tokens."
        )


def _drawn(model, options, prompt, prompt_mask, cache, lengths, stop_token_ids):
    """Returns sequences `(B, N, L)` and log-likelihoods `(B, N)`, or without N."""
    cache, copies = _prefilled(model, prompt, cache, lengths), options.num_samples
    if copies > 1:
        repeated = functools.partial(ops.repeat, repeats=copies, axis=0)
        state = prompt, prompt_mask, cache, lengths
        prompt, prompt_mask, cache, lengths = tree.map_structure(repeated, state)
    prompt, scores = sampled(
        model, options, prompt, prompt_mask, cache, lengths, stop_token_ids
    )
    if copies > 1:
        prompt = ops.reshape(prompt, (-1, copies, ops.shape(prompt)[1]))
        scores = ops.reshape(scores, (-1, copies))
    return prompt, scores


def _searched(model, options, prompt, prompt_mask, cache, lengths, stop_token_ids):
    """Returns sequences `(B, N, L)` and scores `(B, N)`."""
    sequences, scores = options.sampler.search(
        lambda *state: next_token(model._decode, *state),
        prompt,
        prompt_mask,
        _prefilled(model, prompt, cache, lengths),
        ops.min(lengths),
        stop_token_ids,
        options.min_new_tokens,
        options.max_new_tokens,
        model,
    )
    best = options.num_samples
    return sequences[:, :best, :], scores[:, :best]


def _by_keras_hub(model, options, prompt, prompt_mask, cache, lengths, stop_token_ids):
    """Returns the sequences `(B, L)` of a sampler with a loop of its own."""
    _, hidden, cache = model._decode(prompt, cache, 0)
    return options.sampler(
        next=lambda *state: next_token(model._decode, *state),
        prompt=prompt,
        cache=cache,
        index=ops.min(lengths),
        mask=prompt_mask,
        stop_token_ids=stop_token_ids,
        hidden_states=hidden,
        model=model,
    )


def _prefilled(model, prompt, cache, lengths):
    """Returns the cache with the prompts in it; a single token needs no pass."""
    return ops.cond(
        ops.max(lengths) > 1,
        lambda: model._decode(prompt, cache, 0)[2],
        lambda: cache,
    )


def next_token(decode, token_ids, cache, index):
    """Returns logits `(B, V)`, hidden states `(B, D)` and cache, as samplers want them.

    Args:
        decode: function of token ids `(B, 1)`, cache and position.
        token_ids: `(B, L)` int, the tokens so far.
        cache: what `decode` takes and returns.
        index: int scalar, the position to be filled.
    """
    at = index - 1
    last = ops.slice(token_ids, [0, at], [ops.shape(token_ids)[0], 1])
    logits, hidden, cache = decode(last, cache, at)
    return ops.squeeze(logits, axis=1), ops.squeeze(hidden, axis=1), cache
