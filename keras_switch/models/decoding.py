"""What both language models share when they generate.

Axes: B batch, L length.
"""

import contextlib

import keras_hub
from keras import ops

from keras_switch.dispatch import DroplessDispatch
from keras_switch.layers import SwitchFeedForward
from keras_switch.partitioning import constrain, on_mesh


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
    index = ops.min(ops.sum(ops.cast(prompt_mask, "int32"), axis=-1))
    if on_mesh():
        state = index, token_ids, cache
        token_ids = _greedy_on_mesh(model, prompt_mask, stop_token_ids, *state)
    else:
        token_ids = model.sampler(
            next=lambda *state: next_token(model._decode, *state),
            prompt=token_ids,
            cache=cache,
            index=index,
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


def _greedy_on_mesh(model, prompt_mask, stop_token_ids, index, token_ids, cache):
    """Returns the tokens that `GreedySampler` gives, `(B, L)`.

    Samplers write tokens in place, which DTensor cannot split: here every place
    chooses whether it is the one to be written.
    """
    if type(model.sampler) is not keras_hub.samplers.GreedySampler:
        raise ValueError(
            f"{model.name!r} is on the mesh {str(model.mesh)!r}, where generate is "
            f"greedy only, but its sampler is {type(model.sampler).__name__}: compile "
            "it with sampler='greedy', or generate with the copy on one device that "
            "`model.off_mesh()` returns."
        )
    positions = ops.arange(token_ids.shape[1], dtype="int32")

    def unfinished(index, token_ids, cache):
        more = index < token_ids.shape[1]
        if stop_token_ids is None:
            return more
        counts = generated_mask(token_ids, prompt_mask, stop_token_ids)
        return ops.logical_and(more, ops.any(ops.all(counts, axis=-1)))

    def step(index, token_ids, cache):
        last = ops.cast(ops.equal(positions, index - 1), "int32")
        last = ops.sum(token_ids * last, axis=-1, keepdims=True)
        logits, _, cache = model._decode(last, cache, index - 1)
        chosen = ops.cast(ops.argmax(logits, axis=-1), "int32")  # (B, 1)
        free = ops.logical_not(prompt_mask)
        here = ops.logical_and(ops.equal(positions, index), free)
        token_ids = ops.where(here, chosen, token_ids)
        return index + 1, constrain(token_ids, "batch", "length"), cache

    state = index, constrain(token_ids, "batch", "length"), cache
    return ops.while_loop(unfinished, step, state)[1]
