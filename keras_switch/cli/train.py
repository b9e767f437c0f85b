"""`keras-switch train`."""

import contextlib
import dataclasses

import keras

from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import batches_for, mesh_of
from keras_switch.cli.observing import observers_of
from keras_switch.cli.run_config import RunConfig
from keras_switch.data import DataConfig
from keras_switch.evaluation import TaskMetrics
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_on
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
    mesh_shape: str | None = None,
    layout_rules: str | None = None,
    metrics: TaskMetrics | None = None,
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
        eval_data: batches to evaluate on, from the start each time; `None` for none.
        dtype: dtype policy.
        seed: of the weights, of dropout and of exploration.
        mesh_shape: axes of a mesh, such as `"data:4,model:2"`; `None`: one device.
        layout_rules: dimensions over axes, such as `"batch:data,d_ff:model"`. `None`:
            the Switch paper's, as far as they fit.
        metrics: what to measure on every task at each evaluation; keeps the weights of
            each task's best. `None`: no more than the loss.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if model, batch and mesh do not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    mesh = mesh_of(model, dtype, mesh_shape, layout_rules)
    clients = clients_on(mesh)
    config_file.check(model_dir, model)
    if clients.is_first and save_config is not None:
        save_config(model_dir)
    if clients.is_first and mesh is not None:
        print(mesh.description(), flush=True)
    keras.utils.set_random_seed(seed)
    with mesh or contextlib.nullcontext():
        network = language_model(model, dtype)
    return training.train(
        network,
        optimizer,
        loss,
        batches_for(data, model, clients),
        eval_data=eval_data and batches_for(eval_data, model, clients),
        model_dir=model_dir,
        config=model,
        observers=observers_of(metrics, eval_data or data, model, model_dir, clients),
        **dataclasses.asdict(run),
    )
