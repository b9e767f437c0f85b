"""What a model writes, as SeqIO's evaluator asks for it.

Axes: B batch, L length of the model's row, T tokens of an answer.
"""

import numpy as np

from keras_switch.data.features import EncoderDecoder
from keras_switch.evaluation.batching import batched
from keras_switch.partitioning.clients import clients_of
from keras_switch.partitioning.together import all_rows


class Answers:
    """Function from examples to token ids: the `predict_fn` of `seqio.Evaluator`.

    Decoding is greedy, and ends with the end token.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM`.
        form: how it reads examples; see `data/features.py`.
        batch_size: rows at once.
        max_tokens: T, room for an answer, its end token included.
        end: id of the end token; `None`: answers fill the room.
    """

    def __init__(self, model, form, batch_size: int, max_tokens: int, end):
        self.model = model
        self.form = form
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.end = end

    def __call__(self, dataset):
        """Returns pairs: the number of an example, T token ids filled up with 0.

        Args:
            dataset: `tf.data.Dataset` of pairs: the number, features of the model.
        """
        if getattr(self.model, "sampler", None) is None:
            self.model.compile(sampler="greedy")
        found, share = [], clients_of(self.model).share
        for numbers, features in batched(dataset, self.batch_size, share):
            answers = all_rows(self.model, self._answers(features)).tolist()
            found += zip(numbers, answers, strict=False)  # which may be filled up
        return found

    def _answers(self, features):
        """Returns token ids `(B, T)` for a batch of features."""
        output = self.model.generate(
            self._prompt(features),
            stop_token_ids=None if self.end is None else (self.end,),
            strip_prompt=True,
            sampler="greedy",
        )
        tokens = output.get("decoder_token_ids", output.get("token_ids"))
        return np.asarray(tokens)[:, : self.max_tokens]

    def _prompt(self, features):
        """Returns the model's inputs with room for an answer behind the prompt."""
        if isinstance(self.form, EncoderDecoder):
            return self._start(features)
        return self._prefix(features)

    def _start(self, features):
        """Returns the encoder's inputs, and a decoder that holds the start token, 0."""
        tokens = np.asarray(features["encoder_input_tokens"], "int32")
        room = np.zeros((len(tokens), 1 + self.max_tokens), "int32")
        start = room.copy()
        start[:, 0] = 1
        return {
            "encoder_token_ids": tokens,
            "encoder_padding_mask": (tokens != 0).astype("int32"),
            "decoder_token_ids": room,
            "decoder_padding_mask": start,
        }

    def _prefix(self, features):
        """Returns the start token and the inputs of each row; targets are left out.

        SeqIO marks the positions whose next token belongs to the inputs or is the first
        of the targets: just those that are the prompt.
        """
        tokens = np.asarray(features["decoder_input_tokens"], "int32")
        prompt = np.asarray(features["decoder_causal_attention"], "int32")
        room = ((0, 0), (0, 1 + self.max_tokens))  # behind the longest prompt as well
        prompt = np.pad(prompt, room)
        prompt[:, 0] = 1  # also of rows that only fill up the batch
        return {"token_ids": np.pad(tokens, room) * prompt, "padding_mask": prompt}
