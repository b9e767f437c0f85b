"""A trained model and its tokenizer, from a run or a checkpoint."""

import dataclasses

from keras_switch import models
from keras_switch.cli import sources
from keras_switch.data import registry
from keras_switch.data.task_spec import TaskSpec
from keras_switch.training import run_folder


@dataclasses.dataclass(frozen=True)
class TrainedConfig:
    """A language model that has been trained.

    Args:
        source: `hf://organization/name`, or a folder; see `convert`.
        model_dir: folder of a run, in place of `source`.
        checkpoint: of the run: `"newest"`, `"best"` or a step.
        task: SeqIO task whose vocabulary the run has; `None`: the model takes and gives
            token ids.
        dtype: dtype policy.

    Raises:
        ValueError: if not one of `source` and `model_dir` is given.
    """

    source: str | None = None
    model_dir: str | None = None
    checkpoint: str | int = run_folder.NEWEST
    task: str | TaskSpec | None = None
    dtype: str = "float32"

    def __post_init__(self):
        if (self.source is None) == (self.model_dir is None):
            raise ValueError(
                f"got source={self.source!r} and model_dir={self.model_dir!r}: give "
                "one of them, --model_dir=runs/first for a run or "
                "--source=hf://google/switch-base-8 for a checkpoint of another kind."
            )

    def read(self):
        """Returns the model with its preprocessor; LoRA is merged.

        Raises:
            ValueError: if nothing is there, or the vocabulary does not fit.
        """
        if self.source is not None:
            return sources.read(self.source, self.dtype).model
        where = self.model_dir, self.dtype, self.checkpoint
        model = sources.read_run(*where).model
        if self.task is None:
            return model
        preprocessor = _preprocessor(model)(_tokenizer(self.task))
        return type(model)(model.backbone, preprocessor)


def _tokenizer(task):
    """Returns the tokenizer that a task's vocabulary is."""
    vocabulary = registry.find(task).output_features["targets"].vocabulary
    if not hasattr(vocabulary, "sp_model"):
        raise ValueError(
            f"The vocabulary of the task {task!r} is a {type(vocabulary).__name__}, "
            "but models that take text need one of SentencePiece: give the task as "
            "None (--gin.TASK=None) for a model of token ids."
        )
    return models.SwitchTokenizer(vocabulary.sp_model)


def _preprocessor(model):
    """Returns the class that makes inputs of texts for a model."""
    if isinstance(model, models.SwitchSeq2SeqLM):
        return models.SwitchSeq2SeqLMPreprocessor
    if model.backbone.config.prefix_lm:
        return models.SwitchPrefixLMPreprocessor
    return models.SwitchCausalLMPreprocessor
