"""Text that goes on: decoder-only language model with generation.

Axes: B batch, L length, V vocabulary.
"""

import keras
import keras_hub
from keras import ops

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.causal_lm_preprocessor import SwitchCausalLMPreprocessor
from keras_switch.models.config import DECODER_ONLY
from keras_switch.models.decoding import dropless, generated
from keras_switch.models.language_model import LanguageModel
from keras_switch.models.prefix_lm_preprocessor import SwitchPrefixLMPreprocessor


@keras.saving.register_keras_serializable("keras_switch")
class SwitchCausalLM(LanguageModel, keras_hub.models.CausalLM):
    """Decoder-only Switch with logits, a loss and `generate`.

    Inputs are those of `SwitchBackbone`; the output is `(B, L, V)` float32 logits. Of a
    prefix language model `generate` takes the prompt as the prefix.

    Args:
        backbone: `SwitchBackbone` of a decoder-only config.
        preprocessor: `SwitchCausalLMPreprocessor`, of a prefix language model
            `SwitchPrefixLMPreprocessor`; or `None` for token ids.
        **kwargs: of `keras_hub.models.CausalLM`.

    Example:
    ```python
    model = SwitchCausalLM.from_preset("switch_lm_tiny")
    model.fit(dataset)  # triples of inputs, targets and weights
    ```
    """

    architecture = DECODER_ONLY
    backbone_cls = SwitchBackbone
    preprocessor_cls = SwitchCausalLMPreprocessor

    def generate_step(self, inputs, stop_token_ids=None):
        """Returns prompt and continuation, and which tokens count, for one batch.

        What is asked for beside is `self.generation`.

        Keys and values are cached. No token is dropped by an expert; see
        `decoding.dropless`.

        Args:
            inputs: dictionary with `token_ids`, the prompt and room for what follows,
                and `padding_mask`, 1 for the prompt.
            stop_token_ids: ids that end a sequence, or `None`.
        """
        token_ids = ops.cast(inputs["token_ids"], "int32")
        prompt_mask = ops.cast(inputs["padding_mask"], "bool")
        with dropless(self.backbone):
            cache = self.backbone.decoder.init_cache(*ops.shape(token_ids))
            # The mask rides in the cache, where samplers repeat it for each beam.
            cache = (cache, prompt_mask)
            token_ids, mask, scores = generated(
                self, self.generation, token_ids, prompt_mask, cache, stop_token_ids
            )
        found = {"token_ids": token_ids, "padding_mask": mask}
        return {**found, "scores": scores} if self.generation.scores else found

    def _decode(self, token_ids, cache, index):
        """Returns logits, hidden states and cache after the tokens from `index` on."""
        blocks, prompt_mask = cache
        hidden, blocks = self.backbone.decoder.step(
            self.backbone.token_embedding(token_ids),
            blocks,
            index,
            prefix=prompt_mask if self.backbone.config.prefix_lm else None,
            token_ids=token_ids,
        )
        return self.head(hidden), hidden, (blocks, prompt_mask)

    @staticmethod
    def _hidden_states(outputs):
        return outputs

    def _check(self, backbone, preprocessor):
        super()._check(backbone, preprocessor)
        ours = isinstance(preprocessor, SwitchCausalLMPreprocessor)
        makes_prefix = isinstance(preprocessor, SwitchPrefixLMPreprocessor)
        if ours and makes_prefix != backbone.config.prefix_lm:
            fits = "Causal" if makes_prefix else "Prefix"
            raise ValueError(
                f"The backbone's config says prefix_lm={backbone.config.prefix_lm}, "
                f"but the preprocessor is {type(preprocessor).__name__}: give "
                f"Switch{fits}LMPreprocessor(tokenizer, sequence_length), or a config "
                "of the other kind."
            )
