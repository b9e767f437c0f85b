"""`keras-switch train`."""

import dataclasses

import keras

from keras_switch import data as pipelines
from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.run_config import RunConfig
from keras_switch.data import DataConfig
from keras_switch.models import ModelConfig
from keras_switch.training import config_file


def train(
    model: ModelConfig,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    eval_data: DataConfig | None = None,
    dtype: str = "float32",
    seed: int = 0,
    save_config=None,
):
    """Trains a model; goes on by itself if `model_dir` holds a checkpoint of it.

    Args:
        model: what is trained.
        optimizer: how.
        loss: what is minimized, together with the routers' losses.
        data: batches to train on.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        eval_data: batches to evaluate on, from the start each time; `None` for none.
        dtype: dtype policy.
        seed: of the weights, of dropout and of exploration.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        CheckpointError: if `model_dir` belongs to another model.
    """
    config_file.check(model_dir, model)
    if save_config is not None:
        save_config(model_dir)
    keras.utils.set_random_seed(seed)
    return training.train(
        language_model(model, dtype),
        optimizer,
        loss,
        pipelines.batches(data, model),
        eval_data=eval_data and pipelines.batches(eval_data, model),
        model_dir=model_dir,
        config=model,
        **dataclasses.asdict(run),
    )
