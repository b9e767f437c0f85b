"""What both language models share when they generate.

Axes: B batch, L length.
"""

import contextlib

from keras import ops

from keras_switch.dispatch import DroplessDispatch
from keras_switch.layers import SwitchFeedForward


def sparse_layers(model) -> list:
    """Returns the `SwitchFeedForward` layers of a model, first to last."""
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, SwitchFeedForward)]


@contextlib.contextmanager
def dropless(model):
    """Makes sparse layers drop no token, so that a row never depends on the batch.

    Layers that were given an `eval_dispatch` keep it, and so do those whose experts
    choose: they need a capacity.
    """
    changed = [
        layer
        for layer in sparse_layers(model)
        if layer.eval_dispatch is None and layer.routing.causal
    ]
    for layer in changed:
        layer.eval_dispatch = DroplessDispatch()
    try:
        yield
    finally:
        for layer in changed:
            layer.eval_dispatch = None


def generated(model, token_ids, prompt_mask, cache, stop_token_ids):
    """Returns what a language model writes, and which tokens count, `(B, L)` each.

    Args:
        model: a language model with a sampler and a method
            `_decode(token_ids (B, Q), cache, index) -> logits, hidden states, cache`.
        token_ids: `(B, L)` int, the prompt and room for what follows.
        prompt_mask: `(B, L)` bool, true for tokens of the prompt.
        cache: of no token yet; tensors whose first axis is the batch.
        stop_token_ids: ids that end a sequence, or `None`.
    """
    _, hidden, cache = model._decode(token_ids, cache, 0)
    token_ids = model.sampler(
        next=lambda *state: next_token(model._decode, *state),
        prompt=token_ids,
        cache=cache,
        index=ops.min(ops.sum(ops.cast(prompt_mask, "int32"), axis=-1)),
        mask=prompt_mask,
        stop_token_ids=stop_token_ids,
        hidden_states=hidden,
        model=model,
    )
    return token_ids, generated_mask(token_ids, prompt_mask, stop_token_ids)


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


def generated_mask(token_ids, prompt_mask, stop_token_ids):
    """Returns `(B, L)` bool, true up to and including the first new stop token.

    Args:
        token_ids: `(B, L)` int, prompt and what was generated.
        prompt_mask: `(B, L)` bool, true for tokens of the prompt.
        stop_token_ids: ids that end a sequence, or `None`.
    """
    if stop_token_ids is None:
        return ops.ones_like(token_ids, dtype="bool")
    stops = ops.zeros_like(token_ids, dtype="bool")
    for stop in stop_token_ids:
        stops = ops.logical_or(stops, ops.equal(token_ids, stop))
    stops = ops.cast(ops.logical_and(stops, ops.logical_not(prompt_mask)), "int32")
    before = ops.cumsum(stops, axis=-1) - stops
    return ops.equal(before, 0)
