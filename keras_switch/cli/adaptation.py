"""How a checkpoint becomes the model that is fine-tuned."""

import dataclasses

from keras_switch.models import Lora, ModelConfig
from keras_switch.training import freezing


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """What fine-tuning changes of a model, besides its weights.

    Args:
        dropout_rate: of everything but experts (arXiv:2101.03961, table 4: 0.1).
        expert_dropout_rate: inside experts (the same table: 0.4).
        lora: updates of low rank that alone are trained; `None` for none.
        trainable: `Trainable(only=...)` or `Frozen(parts=...)`; `None` trains all, or
            with `lora` that alone.
    """

    dropout_rate: float = 0.1
    expert_dropout_rate: float = 0.4
    lora: Lora | None = None
    trainable: freezing.Choice | None = None

    def config(self, config: ModelConfig) -> ModelConfig:
        """Returns the config of the model that is fine-tuned."""
        sparse = config.sparse and dataclasses.replace(
            config.sparse, expert_dropout_rate=self.expert_dropout_rate
        )
        return dataclasses.replace(
            config, dropout_rate=self.dropout_rate, sparse=sparse, lora=self.lora
        )

    def choose(self, model) -> freezing.Chosen:
        """Freezes what is not trained; returns what is."""
        if self.trainable is not None:
            return self.trainable.apply(model)
        return freezing.chosen(model)
