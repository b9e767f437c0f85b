"""A trained model and its tokenizer, from a run or a checkpoint."""

from keras_switch import models
from keras_switch.cli import sources
from keras_switch.data import registry


def trained(
    source=None, model_dir=None, checkpoint="newest", task=None, dtype="float32"
):
    """Returns a language model with its preprocessor; LoRA is merged.

    Args:
        source: `hf://organization/name`, or a folder; see `convert`.
        model_dir: folder of a run, in place of `source`.
        checkpoint: of the run: `"newest"`, `"best"` or a step.
        task: SeqIO task whose vocabulary the run has; `None`: the model takes and gives
            token ids.
        dtype: dtype policy.

    Raises:
        ValueError: if not one of `source` and `model_dir` is given, or the vocabulary
            does not fit.
    """
    if (source is None) == (model_dir is None):
        raise ValueError(
            f"got source={source!r} and model_dir={model_dir!r}: give one of them, "
            "--model_dir=runs/first for a run or --source=hf://google/switch-base-8 "
            "for a checkpoint of another kind."
        )
    if source is not None:
        return sources.read(source, dtype).model
    model = sources.read_run(model_dir, dtype, checkpoint).model
    if task is None:
        return model
    return type(model)(model.backbone, _preprocessor(model)(_tokenizer(task)))


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
