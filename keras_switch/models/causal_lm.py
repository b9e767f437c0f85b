"""Text that goes on: decoder-only language model with generation.

Axes: B batch, L length, V vocabulary.
"""

import keras
import keras_hub
from keras import ops

from keras_switch.models.backbone import SwitchBackbone
from keras_switch.models.causal_lm_preprocessor import SwitchCausalLMPreprocessor
from keras_switch.models.config import DECODER_ONLY
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

    def _start(self, inputs):
        """Returns the cache of no token yet for the rows of `inputs`."""
        mask = ops.cast(inputs["padding_mask"], "bool")
        # The mask rides in the cache, where samplers repeat it for each beam.
        return self.backbone.decoder.init_cache(*ops.shape(mask)), mask

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
