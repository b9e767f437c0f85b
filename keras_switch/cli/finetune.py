"""`keras-switch finetune`."""

import keras

from keras_switch import training
from keras_switch.cli import sources
from keras_switch.cli.adaptation import Adaptation
from keras_switch.cli.meshes import ONE_DEVICE, PlacementConfig
from keras_switch.cli.prepared import prepared
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.data import DataConfig


def finetune(
    source: sources.SourceConfig,
    adaptation: Adaptation,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    evaluation: EvaluationConfig | None = None,
    placement: PlacementConfig = ONE_DEVICE,
    save_config=None,
):
    """Trains a model from a checkpoint; goes on by itself if `model_dir` holds one.

    Args:
        source: checkpoint to start from.
        adaptation: dropout, LoRA, and which weights are trained.
        optimizer: makes slots for the weights that are trained, and no others.
        loss: what is minimized, together with the routers' losses.
        data: batches to train on.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        evaluation: see `train`.
        placement: see `train`.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if the source has no weights, or model, batch and mesh do not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    found = source.read(placement.dtype)
    config = adaptation.config(found.config)
    ready = prepared(config, placement, run, model_dir)
    sources.give(found, ready.model)
    chosen = adaptation.choose(ready.model)
    ready.begin(save_config, f"Fine-tunes {found.origin}: {chosen}")
    del found
    return training.train(
        ready.model, optimizer, loss, ready.batches(data), **ready.options(evaluation)
    )
