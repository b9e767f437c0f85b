"""`generate`, for both language models: text or ids in, text or ids out.

Axes: B batch, N samples of a row, L length.
"""

import contextlib
import dataclasses
import json

import keras_hub
import numpy as np
from keras import ops

from keras_switch.models.decoding import Generation, dropless, generated


class Generates:
    """Mixin before a KerasHub task class: options of its own for every `generate`.

    KerasHub generates as `compile` said once. Here each call may say otherwise; a graph
    is traced for each set of options and each shape of batch, and kept.
    """

    @property
    def generation(self) -> Generation:
        """What the `generate_step` that is being traced or run is asked for."""
        asked = getattr(self, "_generation", None)
        return Generation(self.sampler) if asked is None else asked

    def compile(self, *args, **kwargs):
        object.__setattr__(self, "_generate_functions", {})
        super().compile(*args, **kwargs)

    def generate(
        self,
        inputs,
        max_length=None,
        stop_token_ids="auto",
        strip_prompt=False,
        *,
        sampler=None,
        num_samples=1,
        min_new_tokens=0,
        max_new_tokens=None,
        return_scores=False,
    ):
        """Writes what follows a text, or token ids.

        A row ends with its first stop token, and the call with the last row. No expert
        drops a token, and neither other rows nor padding change what a row says.

        Args:
            inputs: with a preprocessor texts: a string, a list or a dictionary of
                them; without one a dictionary of the backbone's inputs, whose padding
                mask marks the prompt in `token_ids` (`decoder_token_ids`), the rest of
                which is room for what follows. Or a `tf.data.Dataset` of either.
            max_length: tokens of prompt and continuation together, at most; of an
                encoder-decoder those of the decoder. `None`: the preprocessor's. Of
                token ids their length says it.
            stop_token_ids: ids that end a sequence; `"auto"`: the tokenizer's end;
                `None`: none.
            strip_prompt: whether to leave out the prompt.
            sampler: name or `keras_hub.samplers.Sampler`: `"greedy"`,
                `keras_hub.samplers.TopPSampler(p=0.9, temperature=0.7)`,
                `BeamSearch(num_beams=4)`; `None`: the one that `compile` got.
            num_samples: N, sequences for each input: draws, or the best of a search.
            min_new_tokens: tokens before a stop token may come.
            max_new_tokens: tokens that are written at most; `None`: as there is room.
            return_scores: whether to return the scores too: the log-likelihood of what
                was written, by `BeamSearch` divided by its length penalty.

        Returns:
            Texts, or a dictionary of token ids and padding mask `(B, L)`; of more than
            one sample a list of lists, or `(B, N, L)`. With `return_scores` a pair of
            that and the scores, `(B,)` or `(B, N)` float32.

        Raises:
            ValueError: if the sampler cannot do what is asked of it, or a number makes
                no sense.
        """
        sampler = keras_hub.samplers.get(sampler) or self.sampler
        options = Generation(
            sampler, num_samples, min_new_tokens, max_new_tokens, return_scores
        )
        _check(options)
        batches, single = self._normalize_generate_inputs(inputs)
        stop_token_ids = self._stops(stop_token_ids)
        found = []
        for batch in batches:
            if self.preprocessor is not None:
                batch = self.preprocessor.generate_preprocess(
                    batch, sequence_length=max_length
                )
            with self._asked_for(options) as function:
                output = function(batch, stop_token_ids=stop_token_ids)
            output = {name: np.asarray(value) for name, value in output.items()}
            found.append(self._stripped(output, batch) if strip_prompt else output)
        whole = {name: _joined([x[name] for x in found]) for name in found[0]}
        return self._returned(whole, options, single)

    def make_generate_function(self):
        if self.mesh is None:
            return super().make_generate_function()
        from keras_switch.partitioning import decoded

        # Whatever is asked for, the model does the same on the mesh.
        self.generate_function = self._generate_functions.setdefault(
            "on a mesh", decoded.Generate(self)
        )
        return self.generate_function

    def generate_step(self, inputs, stop_token_ids=None, decoder=None):
        """Returns the tokens of prompt and continuation, and which count, of one batch.

        What is asked for beside is `self.generation`.

        An encoder runs once; the decoder runs a token at a time on cached keys and
        values. No token is dropped by an expert; see `decoding.dropless`.

        Args:
            inputs: dictionary of the backbone's inputs; `token_ids`, of an
                encoder-decoder `decoder_token_ids`, are the prompt and room for what
                follows, and their mask is 1 for the prompt.
            stop_token_ids: ids that end a sequence, or `None`.
            decoder: what starts caches and runs the decoder; `None`: the model itself.
                On a mesh a `partitioning.decoded.Decoder`.
        """
        ids, mask = self._names()
        token_ids = ops.cast(inputs[ids], "int32")
        prompt_mask = ops.cast(inputs[mask], "bool")
        decoder = decoder or self
        with dropless(self.backbone):
            cache = decoder._start(inputs)
            token_ids, counts, scores = generated(
                decoder, self.generation, token_ids, prompt_mask, cache, stop_token_ids
            )
        found = {ids: token_ids, mask: counts}
        return {**found, "scores": scores} if self.generation.scores else found

    @contextlib.contextmanager
    def _asked_for(self, options):
        """Gives the function that generates with these options."""
        key = _key(options)
        before = self.sampler, self.generate_function
        function, options = self._generate_functions.get(key, (None, options))
        try:
            self.sampler, self.generate_function = options.sampler, function
            with self.generating(options):
                function = self.make_generate_function()
                yield function
            self._generate_functions[key] = function, options
        finally:
            self.sampler, self.generate_function = before

    @contextlib.contextmanager
    def generating(self, options: Generation):
        """Makes `generate_step`, while it is traced or run, do what is asked for."""
        object.__setattr__(self, "_generation", options)
        try:
            yield
        finally:
            object.__setattr__(self, "_generation", None)

    def _stops(self, stop_token_ids):
        if stop_token_ids != "auto":
            return None if stop_token_ids is None else tuple(stop_token_ids)
        if self.preprocessor is None:
            raise ValueError(
                f"{self.name!r} has no preprocessor, so it does not know which ids end "
                "a sequence: give stop_token_ids, (1,) for T5's vocabularies, or None "
                "to fill every row."
            )
        return (self.preprocessor.tokenizer.end_token_id,)

    def _stripped(self, output, batch):
        """Returns what was generated with each continuation at the beginning."""
        ids, mask = self._names()
        prompt = np.asarray(batch[mask]).astype(bool)
        if output[ids].ndim == 3:
            prompt = prompt[:, np.newaxis, :]
        lengths = prompt.sum(-1, keepdims=True)
        where = (np.arange(prompt.shape[-1]) + lengths) % prompt.shape[-1]
        where = np.broadcast_to(where, output[ids].shape)
        new = {ids: output[ids], mask: output[mask].astype(bool) & ~prompt}
        new = {name: np.take_along_axis(x, where, -1) for name, x in new.items()}
        return {**output, **new, ids: new[ids] * new[mask]}

    def _returned(self, output, options, single):
        """Returns the outputs of all batches as the caller wants them."""
        scores = output.pop("scores", None)
        found = output if self.preprocessor is None else self._texts(output)
        if single:
            found = found[0]
            scores = None if scores is None else scores[0]
        return (found, scores) if options.scores else found

    def _texts(self, output):
        """Returns the texts of `(B, L)` ids, or lists of those of `(B, N, L)`."""
        ids, mask = self._names()
        rows = {
            name: output[name].reshape(-1, output[ids].shape[-1])
            for name in (ids, mask)
        }
        texts = self.preprocessor.generate_postprocess(rows)
        if output[ids].ndim == 2:
            return texts
        n = output[ids].shape[1]
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def _names(self):
        """Returns the names of the ids and the mask that `generate` writes."""
        prefix = "decoder_" if len(self.backbone.config.stacks) == 2 else ""
        return f"{prefix}token_ids", f"{prefix}padding_mask"


def _check(options):
    least = {"num_samples": 1, "min_new_tokens": 0, "max_new_tokens": 1}
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and not (value == int(value) and value >= lowest):
            raise ValueError(
                f"generate got {name}={value}: give a whole number of at least "
                f"{lowest}."
            )


def _key(options):
    """Returns what tells options apart: samplers of the libraries by their config."""
    sampler = options.sampler
    if type(sampler).__module__.split(".")[0] in ("keras_hub", "keras_switch"):
        sampler = type(sampler), json.dumps(sampler.get_config(), sort_keys=True)
    return dataclasses.replace(options, sampler=sampler)


def _joined(values):
    """Returns the rows of all batches; filled up with 0 where lengths differ."""
    longest = max(value.shape[-1] for value in values) if values[0].ndim > 1 else None
    if longest is not None:
        values = [
            np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, longest - v.shape[-1])])
            for v in values
        ]
    return np.concatenate(values)
