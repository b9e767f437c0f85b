"""Text to text: encoder-decoder with generation.

Axes: B batch, L length of the inputs, T length of the targets, V vocabulary.
"""

import keras
import keras_hub
from keras import ops

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.config import ENCODER_DECODER
from keras_switch.models.language_model import LanguageModel
from keras_switch.models.seq_2_seq_lm_preprocessor import SwitchSeq2SeqLMPreprocessor


@keras.saving.register_keras_serializable("keras_switch")
class SwitchSeq2SeqLM(LanguageModel, keras_hub.models.Seq2SeqLM):
    """Switch or T5 with logits, a loss and `generate`.

    Inputs are those of `SwitchBackbone`; the output is `(B, T, V)` float32 logits.
    Plain `fit` takes `(inputs, targets, weights)`, or text with a preprocessor.

    Args:
        backbone: `SwitchBackbone` of an encoder-decoder.
        preprocessor: `SwitchSeq2SeqLMPreprocessor`, or `None` for token ids.
        **kwargs: of `keras_hub.models.Seq2SeqLM`.

    Example:
    ```python
    model = SwitchSeq2SeqLM.from_preset("switch_tiny")
    model.fit(dataset)  # triples of inputs, targets and weights
    model.compile(sampler="greedy")
    model.generate(inputs, stop_token_ids=[1])
    ```
    """

    architecture = ENCODER_DECODER
    backbone_cls = SwitchBackbone
    preprocessor_cls = SwitchSeq2SeqLMPreprocessor

    def _start(self, inputs):
        """Returns the cache of no token yet for the rows of `inputs`; encodes them."""
        mask = ops.cast(inputs["encoder_padding_mask"], "int32")
        token_ids = ops.cast(inputs["encoder_token_ids"], "int32")
        encoded = self.backbone.encode(token_ids, mask)
        shape = ops.shape(inputs["decoder_token_ids"])
        # The mask rides in the cache, where samplers repeat it for each beam.
        return self.backbone.decoder.init_cache(*shape, encoded), mask

    def _decode(self, token_ids, cache, index):
        """Returns logits, hidden states and cache after the tokens from `index` on."""
        blocks, encoder_mask = cache
        hidden, blocks = self.backbone.decoder.step(
            self.backbone.token_embedding(token_ids),
            blocks,
            index,
            context_segments=encoder_mask,
            token_ids=token_ids,
        )
        return self.head(hidden), hidden, (blocks, encoder_mask)

    @staticmethod
    def _hidden_states(outputs):
        return outputs["decoder_sequence_output"]
