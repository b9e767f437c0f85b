"""Models that a command starts from: of a run, a preset, or a published checkpoint."""

import dataclasses
import pathlib

from keras_switch import convert as conversions
from keras_switch import training
from keras_switch.convert import placing
from keras_switch.models import PRESETS, ModelConfig
from keras_switch.training import run_folder


@dataclasses.dataclass(frozen=True)
class Source:
    """A model with weights, and where it was found.

    Args:
        model: `SwitchSeq2SeqLM` or `SwitchCausalLM`, without LoRA.
        origin: for the log: the address, and the step of a run's checkpoint.
    """

    model: object
    origin: str

    @property
    def config(self) -> ModelConfig:
        """What the model is."""
        return self.model.backbone.config


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """A checkpoint to start from.

    Args:
        address: `--model_dir` of a run, a preset's folder, or a published checkpoint:
            see `convert`.
        checkpoint: of a run: `"newest"`, `"best"`, or a step that is kept.
    """

    address: str
    checkpoint: str | int = run_folder.NEWEST

    def read(self, dtype=None) -> Source:
        """Returns the model that is there; see `read`."""
        return read(self.address, dtype, self.checkpoint)


def read(address: str, dtype=None, checkpoint=run_folder.NEWEST) -> Source:
    """Returns the model at an address, in whichever form it is there.

    Args:
        address: `--model_dir` of a run; a preset's folder; or what `convert` reads:
            `hf://organization/name`, or a folder of Hugging Face, T5X or Mesh
            TensorFlow.
        dtype: dtype policy.
        checkpoint: of a run: `"newest"`, `"best"`, or a step that is kept.

    Raises:
        ValueError: if nothing with weights is there.
        CheckpointError: if the run has no such checkpoint.
    """
    if run_folder.is_run(address):
        return read_run(address, dtype, checkpoint)
    _check(address)
    model = conversions.read(address, dtype, conversions.Progress).model
    return Source(_merged(model), str(address))


def read_run(folder: str, dtype=None, checkpoint=run_folder.NEWEST) -> Source:
    """Returns the model of a run.

    Args:
        folder: its `--model_dir`.
        dtype: dtype policy.
        checkpoint: `"newest"`, `"best"`, or a step that is kept.

    Raises:
        CheckpointError: if there is no such run or checkpoint.
    """
    model, step = training.load_run(folder, checkpoint, dtype)
    return Source(_merged(model), f"{folder}, step {step}")


def give(source: Source, target):
    """Gives a model the weights of another of the same layers; LoRA stays as it is.

    Args:
        source: where from.
        target: model of the same config but for dropout and LoRA, on any mesh.

    Raises:
        ValueError: naming the weights that do not fit.
    """
    given = {variable.path: variable for variable in source.model.weights}
    wanted = [v for v in target.weights if "_lora_" not in v.name]
    mistakes = [
        f"{v.path} {tuple(v.shape)}"
        for v in wanted
        if v.path not in given or tuple(given[v.path].shape) != tuple(v.shape)
    ]
    if mistakes:
        raise ValueError(
            f"{source.origin} does not fit the model: it has no weights of these "
            f"shapes: {', '.join(mistakes[:8])}{' ...' * (len(mistakes) > 8)}. Give "
            "the ModelConfig that it was made with."
        )
    for variable in wanted:
        placing.copy(given[variable.path], variable)


def _merged(model):
    if model.backbone.config.lora is not None:
        model.backbone.merge_lora()
    return model


def _check(address):
    if str(address) in PRESETS and not pathlib.Path(address).exists():
        raise ValueError(
            f"{address!r} is a built-in config without weights: give the folder of a "
            "run, a preset that save_to_preset wrote, or a published checkpoint "
            "(hf://google/switch-base-8)."
        )
    if "://" not in str(address) and not pathlib.Path(address).exists():
        raise ValueError(
            f"There is nothing at {str(address)!r}: give the folder of a run, a "
            "preset's folder, or a published checkpoint (hf://google/switch-base-8)."
        )
