"""Functions of an exported model on token ids, for both architectures.

Axes: B batch, L length of the inputs, T length of targets or answers, D d_model.
"""

import tensorflow as tf

from keras_switch.models.decoding import dropless


class Answers:
    """What a model answers to token ids; a subclass for each architecture.

    Token ids are `(B, L)` int32 without a start token, 0 behind each input.

    Args:
        model: language model, not on a mesh.
        options: `Serving`.
    """

    name = None
    """Of the input of token ids, as the model calls it."""
    inputs = ()
    """Names of all inputs of the model; its masks tell packed examples apart."""

    def __init__(self, model, options):
        self.model = model
        self.options = options
        self.generation = options.generation()
        self.weights = options.weights.of(model)

    def padded(self, token_ids):
        """Returns ids `(B, P)`, P the first of `input_lengths` that holds them."""
        lengths = tf.constant(self.options.input_lengths, "int32")
        length, longest = tf.shape(token_ids)[1], self.options.input_lengths[-1]
        message = f"inputs are longer than {longest} tokens"
        check = tf.debugging.assert_less_equal(length, longest, message=message)
        with tf.control_dependencies([check] if check is not None else []):
            to = tf.reduce_min(tf.where(lengths >= length, lengths, longest))
            return tf.pad(token_ids, [[0, 0], [0, to - length]])

    def generate(self, token_ids):
        """Returns answers `(B, T)` int32, 0 behind each, and scores `(B,)` float32."""
        inputs, start = self._prompted(self.padded(token_ids))
        with self.weights, self.model.generating(self.generation):
            found = self.model.generate_step(inputs, self.options.stop_token_ids)
        return self._written(found, start), tf.cast(found["scores"], "float32")

    def score(self, token_ids, targets):
        """Returns the log-likelihoods of targets `(B, T)` int32, `(B,)` float32.

        They end with the stop token if that is to count; 0 behind each.
        """
        inputs, known, following = self._forced(self.padded(token_ids), targets)
        with self.weights, dropless(self.model.backbone):
            logits = self.model(inputs)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(following, logits)
        return -tf.reduce_sum(losses * tf.cast(known, "float32"), axis=-1)

    def logits(self, *values):
        """Returns logits `(B, T, V)` float32, given what `inputs` names."""
        given = dict(zip(self.inputs, values, strict=True))
        with self.weights, dropless(self.model.backbone):
            return tf.cast(self.model(given), "float32")

    def encode(self, token_ids):
        """Returns hidden states of the inputs, `(B, P, D)` float32."""
        with self.weights, dropless(self.model.backbone):
            return tf.cast(self._encoded(self.padded(token_ids)), "float32")


class EncoderDecoderAnswers(Answers):
    """The encoder reads the inputs, the decoder starts with 0."""

    name = "encoder_token_ids"
    inputs = (
        "encoder_token_ids",
        "encoder_padding_mask",
        "decoder_token_ids",
        "decoder_padding_mask",
    )

    def _prompted(self, token_ids):
        room = tf.zeros(
            (tf.shape(token_ids)[0], self.options.max_new_tokens + 1), "int32"
        )
        inputs = {
            **self._read(token_ids),
            "decoder_token_ids": room,
            "decoder_padding_mask": _first(room),
        }
        return inputs, None

    def _written(self, found, start):
        return found["decoder_token_ids"][:, 1:]

    def _forced(self, token_ids, targets):
        known = tf.not_equal(targets, 0)
        inputs = {
            **self._read(token_ids),
            "decoder_token_ids": tf.pad(targets[:, :-1], [[0, 0], [1, 0]]),
            "decoder_padding_mask": tf.cast(known, "int32"),
        }
        return inputs, known, targets

    def _encoded(self, token_ids):
        read = self._read(token_ids)
        return self.model.backbone.encode(*read.values())

    def _read(self, token_ids):
        real = tf.cast(tf.not_equal(token_ids, 0), "int32")
        return {"encoder_token_ids": token_ids, "encoder_padding_mask": real}


class DecoderAnswers(Answers):
    """The decoder reads 0 and the inputs, and goes on."""

    name = "token_ids"

    @property
    def inputs(self):
        prefix = ("prefix_mask",) * self.model.backbone.config.prefix_lm
        return ("token_ids", "padding_mask", *prefix)

    def _prompted(self, token_ids):
        start = 1 + _lengths(token_ids)  # (B, 1)
        ids = tf.pad(token_ids, [[0, 0], [1, self.options.max_new_tokens]])
        return {"token_ids": ids, "padding_mask": _before(ids, start)}, start

    def _written(self, found, start):
        places = start + tf.range(self.options.max_new_tokens)
        return tf.gather(found["token_ids"], places, batch_dims=1)

    def _forced(self, token_ids, targets):
        # Row by row: the start, the input, then the target.
        parts = (
            tf.RaggedTensor.from_tensor(token_ids, lengths=_lengths(token_ids)[:, 0]),
            tf.RaggedTensor.from_tensor(targets, lengths=_lengths(targets)[:, 0]),
        )
        whole = tf.concat(parts, axis=1).to_tensor(0)
        whole = tf.pad(whole, [[0, 0], [0, 1]])  # no row is empty
        start, end = _lengths(token_ids), _lengths(token_ids) + _lengths(targets)
        places = tf.range(tf.shape(whole)[1])
        known = tf.logical_and(places >= start, places < end)
        inputs = self._read(tf.pad(whole[:, :-1], [[0, 0], [1, 0]]), 1 + end)
        if self.model.backbone.config.prefix_lm:
            inputs["prefix_mask"] = _before(whole, 1 + start)
        return inputs, known, whole

    def _encoded(self, token_ids):
        ids, end = tf.pad(token_ids, [[0, 0], [1, 0]]), 1 + _lengths(token_ids)
        inputs = self._read(ids, end)
        if self.model.backbone.config.prefix_lm:
            inputs["prefix_mask"] = _before(ids, end)
        return self.model.backbone(inputs)[:, 1:, :]

    def _read(self, ids, end):
        return {"token_ids": ids, "padding_mask": _before(ids, end)}


def _lengths(token_ids):
    """Returns the number of tokens up to the last that is not 0, `(B, 1)`."""
    places = 1 + tf.range(tf.shape(token_ids)[1])
    real = tf.cast(tf.not_equal(token_ids, 0), "int32")
    return tf.reduce_max(tf.pad(real * places, [[0, 0], [0, 1]]), -1, keepdims=True)


def _before(ids, end):
    """Returns 1 before `end (B, 1)` in each row of `ids (B, L)`, else 0, int32."""
    return tf.cast(tf.range(tf.shape(ids)[1]) < end, "int32")


def _first(ids):
    return _before(ids, tf.ones((tf.shape(ids)[0], 1), "int32"))
