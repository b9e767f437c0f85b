"""Text to text: encoder-decoder with generation.

Axes: B batch, L length of the inputs, T length of the targets, V vocabulary.
"""

import keras
import keras_hub
from keras import ops

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.config import ENCODER_DECODER
from keras_switch.models.decoding import dropless, generated
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

    def generate_step(self, inputs, stop_token_ids=None):
        """Returns the decoder's tokens and which of them count, for one batch.

        What is asked for beside is `self.generation`.

        The encoder runs once; the decoder runs a token at a time on cached keys and
        values. No token is dropped by an expert; see `decoding.dropless`.

        Args:
            inputs: dictionary of the backbone's inputs; `decoder_token_ids` holds the
                prompt, at least the start token 0, and room for what follows.
            stop_token_ids: ids that end a sequence, or `None`.
        """
        encoder_mask = ops.cast(inputs["encoder_padding_mask"], "int32")
        token_ids = ops.cast(inputs["decoder_token_ids"], "int32")
        prompt_mask = ops.cast(inputs["decoder_padding_mask"], "bool")
        with dropless(self.backbone):
            encoded = self.backbone.encode(
                ops.cast(inputs["encoder_token_ids"], "int32"), encoder_mask
            )
            batch_size, length = ops.shape(token_ids)
            cache = self.backbone.decoder.init_cache(batch_size, length, encoded)
            # The mask rides in the cache, where samplers repeat it for each beam.
            cache = (cache, encoder_mask)
            token_ids, mask, scores = generated(
                self, self.generation, token_ids, prompt_mask, cache, stop_token_ids
            )
        found = {"decoder_token_ids": token_ids, "decoder_padding_mask": mask}
        return {**found, "scores": scores} if self.generation.scores else found

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
