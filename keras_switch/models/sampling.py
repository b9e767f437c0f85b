"""Writing token after token: the loop around samplers that look at one token only.

KerasHub's own loop writes in place, which DTensor cannot split and TF Serving cannot
run on a GPU (`XlaDynamicUpdateSlice`), and tells no scores.

Axes: B batch, L length, V vocabulary.
"""

import keras_hub
from keras import ops

NEVER = -1e9


def sampled(model, options, prompt, prompt_mask, cache, lengths, stop_token_ids):
    """Returns what a sampler writes, `(B, L)`, and its log-likelihoods, `(B,)` float32.

    A row that has written a stop token is done: 0 follows. The loop ends with its last
    row. The log-likelihood is the model's, whatever the sampler's temperature; it is 0
    unless `options.scores` asks for it.

    Args:
        model: a language model; see `decoding.generated`.
        options: `decoding.Generation`.
        prompt: `(B, L)` int, 0 behind each prompt.
        prompt_mask: `(B, L)` bool.
        cache: of the tokens before the shortest prompt's last, at least.
        lengths: `(B, 1)` int32, of the prompts.
        stop_token_ids: ids that end a sequence, or `None`.
    """
    stops = tuple(stop_token_ids or ())
    length = ops.shape(prompt)[1]
    most = length if options.max_new_tokens is None else options.max_new_tokens
    positions = ops.arange(length, dtype="int32")

    def unfinished(index, tokens, cache, done, score):
        more = index < length
        return ops.logical_and(more, ops.any(ops.logical_not(done)))

    def step(index, tokens, cache, done, score):
        last = _at(tokens, ops.equal(positions, index - 1))
        logits, _, cache = model._decode(last, cache, index - 1)  # (B, 1, V)
        allowed = _allowed(logits, index - lengths, stops, options.min_new_tokens)
        chosen = _chosen(options.sampler, allowed)  # (B, 1)
        writes = ops.logical_and(index >= lengths, ops.logical_not(done))
        here = ops.logical_and(ops.equal(positions, index), writes)
        tokens = ops.where(here, chosen, tokens)
        if options.scores:
            gained = _log_probability(logits, chosen)
            score = score + gained * ops.cast(writes, "float32")
        for stop in stops:
            ends = ops.logical_and(writes, ops.equal(chosen, stop))
            done = ops.logical_or(done, ends)
        done = ops.logical_or(done, index + 1 - lengths >= most)
        return index + 1, tokens, cache, done, score

    done = ops.zeros_like(lengths, dtype="bool")
    score = ops.zeros_like(lengths, dtype="float32")
    state = ops.min(lengths), prompt, cache, done, score
    _, tokens, _, _, score = options.sampler.run_loop(
        unfinished, step, loop_vars=state, model=model
    )
    return tokens, ops.squeeze(score, axis=-1)


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


def _at(tokens, here):
    """Returns the token at the place that `here (L,)` marks, `(B, 1)`."""
    return ops.sum(tokens * ops.cast(here, tokens.dtype), axis=-1, keepdims=True)


def _allowed(logits, new_tokens, stops, min_new_tokens):
    """Returns `logits (B, 1, V)` without stop tokens where it is too early for them."""
    if not (stops and min_new_tokens):
        return logits
    marks = ops.sum(ops.one_hot(list(stops), logits.shape[-1]), axis=0)
    early = ops.cast(new_tokens < min_new_tokens, "float32")[..., None]  # (B, 1, 1)
    return logits + NEVER * early * marks


def _chosen(sampler, logits):
    """Returns the tokens that a sampler chooses, `(B, 1)` int32."""
    if type(sampler) is keras_hub.samplers.GreedySampler:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    probabilities = sampler.compute_probabilities(ops.squeeze(logits, axis=1))
    return ops.cast(sampler.get_next_token(probabilities), "int32")[..., None]


def _log_probability(logits, chosen):
    """Returns the log-probability of the tokens `chosen (B, 1)`, likewise."""
    own = ops.sum(logits * ops.one_hot(chosen, logits.shape[-1]), axis=-1)
    return own - ops.logsumexp(logits, axis=-1)
