"""Texts to the inputs of a decoder-only model."""

import keras
import keras_hub

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.tokenizer import SwitchTokenizer


@keras.saving.register_keras_serializable("keras_switch")
class SwitchCausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Tokenizes and pads to `0 tokens... 1 0 0`; the targets are the next tokens.

    Args:
        tokenizer: `SwitchTokenizer`.
        sequence_length: tokens of the inputs.
        **kwargs: of `keras_hub.models.CausalLMPreprocessor`.

    Call arguments:
        x: text, or a batch of texts.
    """

    backbone_cls = SwitchBackbone
    tokenizer_cls = SwitchTokenizer

    def __init__(self, tokenizer, sequence_length=512, **kwargs):
        super().__init__(tokenizer, sequence_length, **kwargs)
