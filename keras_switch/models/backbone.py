"""The model without its task: token ids in, hidden states out.

Axes: B batch, L length, D d_model.
"""

import dataclasses

import keras
import keras_hub

from keras_switch.models import assembly, lora, lora_files
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
        if config.lora is not None:
            lora.add(self, config.lora)

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

    def enable_lora(self, rank, lora_alpha=None, targets=("query", "value")):
        """Adds LoRA and freezes all else; call it before `compile`.

        The model computes what it did. It is part of the config from then on: of what
        is saved, of checkpoints and of presets.

        Args:
            rank: see `models.Lora`, as for the next two.
            lora_alpha: see there.
            targets: see there; also `("experts",)`, `("mixer", "mlp", "experts")`.

        Raises:
            ValueError: if there is LoRA already, or a target matches no kernel.
        """
        if self.config.lora is not None:
            raise ValueError(
                f"{self.name!r} has {self.config.lora} already: merge it first "
                "(merge_lora)."
            )
        wanted = lora.Lora(rank, lora_alpha, targets)
        lora.add(self, wanted)
        self.config = dataclasses.replace(self.config, lora=wanted)

    def merge_lora(self):
        """Adds the updates to the kernels: a model without LoRA, of the same function.

        Compile it anew to go on training, which then trains all weights.
        """
        lora.merge(self)
        self.config = dataclasses.replace(self.config, lora=None)

    def save_lora_weights(self, filepath):
        """Writes the LoRA weights alone, into a file that ends with `.lora.h5`."""
        lora_files.save(self, filepath)

    def load_lora_weights(self, filepath):
        """Reads what `save_lora_weights` wrote; enables LoRA where there is none."""
        lora_files.load(self, filepath)

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
