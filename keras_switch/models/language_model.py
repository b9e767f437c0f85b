"""What the two language models share: defaults of `compile`, checks, presets."""

import importlib

import keras

from keras_switch.models.built_in import BuiltInPresets
from keras_switch.models.generation import Generates
from keras_switch.models.head import LanguageModelHead
from keras_switch.partitioning.trainer import MeshTrainer


class LanguageModel(BuiltInPresets, Generates, MeshTrainer):
    """Mixin before a KerasHub task class.

    A subclass says which `architecture` its backbone has.
    """

    architecture = None

    def __init__(self, backbone, preprocessor=None, **kwargs):
        self._check(backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = LanguageModelHead(
            backbone.token_embedding, dtype=backbone.dtype_policy, name="logits"
        )
        hidden = self._hidden_states(backbone(backbone.input))
        super().__init__(inputs=backbone.input, outputs=self.head(hidden), **kwargs)

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        *,
        weighted_metrics="auto",
        sampler="top_k",
        **kwargs,
    ):
        """Prepares training and generation.

        Args:
            optimizer: `"auto"` is Adam with a learning rate of 1e-3.
            loss: `"auto"` is the cross entropy of float32 logits, averaged over real
                tokens: those with a sample weight. The routers' losses are added by
                themselves.
            weighted_metrics: `"auto"` is the accuracy over real tokens.
            sampler: name or `keras_hub.samplers.Sampler` for `generate`.
            **kwargs: of `keras.Model.compile`. `jit_compile` is `False` here unless
                given: on a CPU, XLA takes minutes to compile a large model and then is
                no faster than TensorFlow's graphs.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(1e-3)
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
        if keras.config.backend() == "tensorflow":
            kwargs.setdefault("jit_compile", False)
        super().compile(
            optimizer=optimizer,
            loss=loss,
            weighted_metrics=weighted_metrics,
            sampler=sampler,
            **kwargs,
        )

    def export(self, filepath, options=None, **kwargs):
        """Writes a SavedModel for TF Serving: text in, text and scores out.

        With signatures for text, token ids, scores and encodings, which need nothing of
        this library; see `keras_switch.export.write`.

        Args:
            filepath: a new folder `NAME/VERSION`, such as `"served/switch/1"`.
            options: `keras_switch.export.Serving`.
            **kwargs: `format` and what goes with it, for the logits alone: those of
                `keras.Model.export`.
        """
        if kwargs:
            return super().export(filepath, **kwargs)
        # A room above this one, with TensorFlow in it: imported when first used.
        return importlib.import_module("keras_switch.export").write(
            self, filepath, options
        )

    def get_compile_config(self):
        # Its slots are saved next; a model that is loaded has them.
        if self.compiled and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return super().get_compile_config()

    def compile_from_config(self, config):
        """Prepares training as a saved model was prepared; the sampler is not saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, *args, **kwargs):
        """Trains; see `keras.Model.fit`."""
        # KerasHub turns arrays into a dataset, about whose order Keras would warn.
        kwargs.setdefault("shuffle", False)
        return super().fit(*args, **kwargs)

    @classmethod
    def _from_built_in(cls, config, **kwargs):
        dtype = kwargs.pop("dtype", None)
        return cls(cls.backbone_cls(config, dtype=dtype), **kwargs)

    @classmethod
    def _from_foreign(cls, backbone, preprocessor, **kwargs):
        return cls(backbone, **{"preprocessor": preprocessor, **kwargs})

    def _check(self, backbone, preprocessor):
        found = backbone.config.architecture
        if found != self.architecture:
            raise ValueError(
                f"{type(self).__name__} needs a backbone of architecture "
                f"{self.architecture!r}, but this one is {found!r}: take the task "
                "class that fits it, or another config."
            )
        tokenizer = getattr(preprocessor, "tokenizer", None)
        if tokenizer is None or tokenizer.proto is None:
            return
        size = tokenizer.vocabulary_size()
        if size > backbone.config.vocab_size:
            raise ValueError(
                f"The tokenizer has {size} tokens, but the backbone's token table has "
                f"only {backbone.config.vocab_size} rows: give its config a vocab_size "
                f"of {-(-size // 128) * 128}, or take another tokenizer."
            )
