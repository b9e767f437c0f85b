"""From SeqIO's model features to Keras triples: inputs, targets, weights.

A form pairs one of SeqIO's feature converters with the inputs of one kind of model:

    form              task has           inputs of the model (B, L) int32
    EncoderDecoder    inputs, targets    encoder_token_ids, encoder_padding_mask,
                                         decoder_token_ids, decoder_padding_mask
    Decoder           targets            token_ids, padding_mask
    PairDecoder       inputs, targets    token_ids, padding_mask
    PrefixDecoder     inputs, targets    token_ids, padding_mask, prefix_mask

Padding masks hold segment ids: 0 for padding, n for the n-th example packed into the
row; without packing 1 is the only example. Decoder inputs are the targets shifted right
behind a 0, within each example. Weights are 1 where a prediction counts, else 0.
"""

import dataclasses

from keras_switch.data import environment

ARCHITECTURES = ("encoder-decoder", "decoder-only")


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """Inputs go to the encoder, targets to the decoder."""

    features = ("inputs", "targets")

    def converter(self, pack: bool):
        """Returns the `seqio.FeatureConverter`."""
        return environment.load("seqio").EncDecFeatureConverter(pack=pack)

    def triple(self, features):
        """Returns inputs, targets and weights of a batch of model features."""
        encoder, decoder = _side(features, "encoder"), _side(features, "decoder")
        inputs = {
            "encoder_token_ids": encoder["token_ids"],
            "encoder_padding_mask": encoder["padding_mask"],
            "decoder_token_ids": decoder["token_ids"],
            "decoder_padding_mask": decoder["padding_mask"],
        }
        return inputs, *_loss(features)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Targets alone, read from left to right."""

    features = ("targets",)

    def converter(self, pack: bool):
        """Returns the `seqio.FeatureConverter`."""
        return environment.load("seqio").LMFeatureConverter(pack=pack)

    def triple(self, features):
        """Returns inputs, targets and weights of a batch of model features."""
        return _side(features, "decoder"), *_loss(features)


@dataclasses.dataclass(frozen=True)
class PairDecoder(Decoder):
    """Inputs and targets in one sequence; only the targets count in the loss."""

    features = ("inputs", "targets")

    def converter(self, pack: bool):
        """Returns the `seqio.FeatureConverter`."""
        return environment.load("seqio").PrefixLMFeatureConverter(pack=pack)


@dataclasses.dataclass(frozen=True)
class PrefixDecoder(PairDecoder):
    """The same, and the inputs are seen in both directions.

    The prefix mask reaches one position beyond the inputs: there their last token is
    read and the first target is predicted.
    """

    def triple(self, features):
        """Returns inputs, targets and weights of a batch of model features."""
        inputs, *loss = super().triple(features)
        return inputs | {"prefix_mask": features["decoder_causal_attention"]}, *loss


def form_of(model, task):
    """Returns the form in which a model takes the examples of a task.

    Args:
        model: `ModelConfig`, or the name of an architecture.
        task: `seqio.Task` or `seqio.Mixture`.

    Raises:
        ValueError: if the model cannot learn from such a task.
    """
    architecture = getattr(model, "architecture", model)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"There are no batches for a model of architecture {architecture!r}: SeqIO "
            f"tasks feed {' and '.join(map(repr, ARCHITECTURES))} models."
        )
    prefix_lm = getattr(model, "prefix_lm", False)
    if "inputs" in task.output_features:
        if architecture == "encoder-decoder":
            return EncoderDecoder()
        return PrefixDecoder() if prefix_lm else PairDecoder()
    if architecture == "encoder-decoder" or prefix_lm:
        kind = "prefix" if prefix_lm else architecture
        raise ValueError(
            f"Task {task.name!r} has targets but no inputs, and a {kind} model needs "
            "both. Take a decoder-only model without prefix_lm, or another task, such "
            "as span corruption."
        )
    return Decoder()


def _side(features, side):
    """Returns token ids and segment ids of the encoder or the decoder."""
    import tensorflow as tf

    tokens = features[f"{side}_input_tokens"]
    # A decoder's first input is the id of padding: only its targets tell padding.
    told_by = tokens if side == "encoder" else features["decoder_target_tokens"]
    segments = features.get(f"{side}_segment_ids")
    if segments is None:
        segments = tf.cast(told_by != 0, tf.int32)
    return {"token_ids": tokens, "padding_mask": segments}


def _loss(features):
    import tensorflow as tf

    weights = tf.cast(features["decoder_loss_weights"], tf.float32)
    return features["decoder_target_tokens"], weights
