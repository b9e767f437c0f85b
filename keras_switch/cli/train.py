"""`keras-switch train`."""

import keras

from keras_switch import training
from keras_switch.cli.meshes import ONE_DEVICE, PlacementConfig
from keras_switch.cli.prepared import prepared
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.data import DataConfig
from keras_switch.models import ModelConfig


def train(
    model: ModelConfig,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    evaluation: EvaluationConfig | None = None,
    placement: PlacementConfig = ONE_DEVICE,
    save_config=None,
):
    """Trains a model; goes on by itself if `model_dir` holds a checkpoint of it.

    On several processes (see `partitioning/environment.py`) every one calls this.

    Args:
        model: what is trained.
        optimizer: how.
        loss: what is minimized, together with the routers' losses.
        data: batches to train on.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        evaluation: what to evaluate on, and what to measure; `None` for nothing.
        placement: mesh and dtype policy.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if model, batch and mesh do not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    ready = prepared(model, placement, run, model_dir)
    ready.begin(save_config)
    return training.train(
        ready.model, optimizer, loss, ready.batches(data), **ready.options(evaluation)
    )
