"""Prompts and responses to the inputs of a prefix language model."""

import keras
import keras_hub

from keras_switch.models.causal_lm_preprocessor import SwitchCausalLMPreprocessor


@keras.saving.register_keras_serializable("keras_switch")
class SwitchPrefixLMPreprocessor(SwitchCausalLMPreprocessor):
    """Tokenizes and pads to `0 prompt... response... 1 0 0`; the response counts.

    For a `SwitchCausalLM` whose config says `prefix_lm`. The prefix mask is true for
    the start token and the prompt, which are seen in both directions; the last of them
    predicts the response. Weights are 1 where the response or its end is predicted. A
    pair that is too long loses the ends of whichever text is longer.

    `generate` takes prompts, as text.

    Args:
        tokenizer: `SwitchTokenizer`.
        sequence_length: tokens of the inputs.
        **kwargs: of `keras_hub.models.CausalLMPreprocessor`.

    Call arguments:
        x: dictionary of `"prompts"` and `"responses"`, each a text or a batch of texts.

    Raises:
        ValueError: if `x` is anything else.

    Example:
    ```python
    preprocessor = SwitchPrefixLMPreprocessor(tokenizer, sequence_length=64)
    model = SwitchCausalLM(SwitchBackbone(config), preprocessor)
    model.fit({"prompts": ["2 + 2 ="], "responses": ["4"]}, batch_size=1)
    model.generate("2 + 2 =")
    ```
    """

    def build(self, input_shape):
        super().build(input_shape)  # its packer takes a prompt alone
        self.pair_packer = keras_hub.layers.MultiSegmentPacker(
            sequence_length=self.sequence_length,
            start_value=self.tokenizer.start_token_id,
            end_value=self.tokenizer.end_token_id,
            sep_value=[],
            pad_value=self.tokenizer.pad_token_id,
        )

    def _call_python(self, x, y=None, sample_weight=None, sequence_length=None):
        if not (isinstance(x, dict) and x.keys() == {"prompts", "responses"}):
            given = sorted(x) if isinstance(x, dict) else type(x).__name__
            raise ValueError(
                f"{self.name!r} got {given}, but a prefix language model learns from a "
                'prompt and its response: give {"prompts": ..., "responses": ...}.'
            )
        prompts = self.tokenizer(x["prompts"])
        segments = (prompts, self.tokenizer(x["responses"]))
        # One more than the inputs: the last token is only predicted.
        length = (sequence_length or self.sequence_length) + 1
        start = {"add_start_value": self.add_start_token}
        token_ids, segment_ids = self.pair_packer(
            segments, sequence_length=length, add_end_value=self.add_end_token, **start
        )
        _, in_prompt = self.packer(
            prompts, sequence_length=length, add_end_value=False, **start
        )
        response = segment_ids == 1
        prefix = in_prompt & (segment_ids == 0)  # padding is 0 too
        x = {
            "token_ids": token_ids[..., :-1],
            "padding_mask": (prefix | response)[..., :-1],
            "prefix_mask": prefix[..., :-1],
        }
        return keras.utils.pack_x_y_sample_weight(
            x, token_ids[..., 1:], response[..., 1:]
        )
