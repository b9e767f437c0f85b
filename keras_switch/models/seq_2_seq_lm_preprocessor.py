"""Pairs of texts to the inputs of an encoder-decoder."""

import keras
import keras_hub

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.tokenizer import SwitchTokenizer


@keras.saving.register_keras_serializable("keras_switch")
class SwitchSeq2SeqLMPreprocessor(keras_hub.models.Seq2SeqLMPreprocessor):
    """Tokenizes, ends and pads as T5 does, and shifts the targets by one.

    The encoder gets `tokens... 1 0 0`, the decoder `0 tokens... 1 0 0`.

    Args:
        tokenizer: `SwitchTokenizer`.
        encoder_sequence_length: tokens of the encoder's inputs, the end included.
        decoder_sequence_length: tokens of the decoder's inputs.
        **kwargs: of `keras_hub.models.Seq2SeqLMPreprocessor`.

    Call arguments:
        x: dictionary of `"encoder_text"` and `"decoder_text"`.
    """

    backbone_cls = SwitchBackbone
    tokenizer_cls = SwitchTokenizer

    def __init__(
        self,
        tokenizer,
        encoder_sequence_length=512,
        decoder_sequence_length=512,
        **kwargs,
    ):
        super().__init__(
            tokenizer, encoder_sequence_length, decoder_sequence_length, **kwargs
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.encoder_packer = keras_hub.layers.StartEndPacker(
            sequence_length=self.encoder_sequence_length,
            end_value=self.tokenizer.end_token_id,
            pad_value=self.tokenizer.pad_token_id,
            return_padding_mask=True,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "encoder_sequence_length": self.encoder_sequence_length,
            "decoder_sequence_length": self.decoder_sequence_length,
        }
