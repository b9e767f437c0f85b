"""The model without its task: token ids in, hidden states out.

Axes: B batch, L length, D d_model.
"""

import keras
import keras_hub

from keras_switch.models import assembly
from keras_switch.models.built_in import BuiltInPresets
from keras_switch.models.config import ENCODER_DECODER, ModelConfig


@keras.saving.register_keras_serializable("keras_switch")
class SwitchBackbone(BuiltInPresets, keras_hub.models.Backbone):
    """Encoder, decoder or both, with experts where the config says so.

    Inputs are int32, each `(B, L)`: `encoder_token_ids`, `encoder_padding_mask`,
    `decoder_token_ids` and `decoder_padding_mask` of an encoder-decoder; else
    `token_ids` and `padding_mask`, and `prefix_mask` of a prefix language model. A
    padding mask is 0 at padding. Elsewhere it may number the examples packed in a row
    (1, 2, ...), which then do not see each other, unless the mixer is `Fourier()`: it
    mixes whole rows.

    Outputs are `(B, L, D)`: `encoder_sequence_output` and `decoder_sequence_output` of
    an encoder-decoder, else one tensor.

    Auxiliary losses of the routers are among `losses` after a call with
    `training=True`; `fit` adds them by itself.

    Args:
        config: `ModelConfig`.
        dtype: dtype policy of all layers; routers stay float32.
        **kwargs: of `keras_hub.models.Backbone`.

    Example:
    ```python
    backbone = SwitchBackbone(ModelConfig(num_layers=2, sparse=Sparse(num_experts=8)))
    backbone = SwitchBackbone.from_preset("switch_base_8", dtype="mixed_bfloat16")
    ```
    """

    def __init__(self, config, dtype=None, **kwargs):
        if not isinstance(config, ModelConfig):
            raise ValueError(
                f"SwitchBackbone got config={config!r}: give a ModelConfig, or call "
                "SwitchBackbone.from_preset(name)."
            )
        self.config = config
        self.token_embedding = assembly.token_embedding(config, dtype)
        for name in config.stacks:
            setattr(self, name, assembly.stack(config, name, dtype))
        inputs = _inputs(config)
        super().__init__(
            inputs=inputs, outputs=self._outputs(inputs), dtype=dtype, **kwargs
        )

    def encode(self, token_ids, padding_mask, training=False):
        """Returns the encoder's output, `(B, L, D)`.

        Args:
            token_ids: `(B, L)` int.
            padding_mask: `(B, L)` int, 0 at padding; see the class.
            training: whether to drop and explore.
        """
        return self.encoder(
            self.token_embedding(token_ids),
            segments=padding_mask,
            token_ids=token_ids,
            training=training,
        )

    def load_weights(self, filepath, **kwargs):
        """Loads weights; see `keras.Model.load_weights`.

        Raises:
            ValueError: if they are those of another config.
        """
        try:
            super().load_weights(filepath, **kwargs)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{filepath} does not fit this backbone: it is no file of weights, or "
                f"holds those of another config than {self.config}. Build the model "
                f"from the ModelConfig that they were saved with. ({error})"
            ) from error

    def get_config(self):
        config = keras.saving.serialize_keras_object(self.config)
        return {**super().get_config(), "config": config}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["config"], dict):
            config["config"] = keras.saving.deserialize_keras_object(config["config"])
        return super().from_config(config)

    def _outputs(self, inputs):
        if self.config.architecture != ENCODER_DECODER:
            (name,) = self.config.stacks
            prefix = {"prefix": inputs["prefix_mask"]} if self.config.prefix_lm else {}
            return getattr(self, name)(
                self.token_embedding(inputs["token_ids"]),
                segments=inputs["padding_mask"],
                token_ids=inputs["token_ids"],
                **prefix,
            )
        encoder_segments = inputs["encoder_padding_mask"]
        encoded = self.encoder(
            self.token_embedding(inputs["encoder_token_ids"]),
            segments=encoder_segments,
            token_ids=inputs["encoder_token_ids"],
        )
        decoded = self.decoder(
            self.token_embedding(inputs["decoder_token_ids"]),
            segments=inputs["decoder_padding_mask"],
            context=encoded,
            context_segments=encoder_segments,
            token_ids=inputs["decoder_token_ids"],
        )
        return {
            "encoder_sequence_output": encoded,
            "decoder_sequence_output": decoded,
        }


def _inputs(config):
    names = ["token_ids", "padding_mask"]
    if config.architecture == ENCODER_DECODER:
        names = [f"{stack}_{name}" for stack in config.stacks for name in names]
    elif config.prefix_lm:
        names.append("prefix_mask")
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}
