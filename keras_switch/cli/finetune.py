"""`keras-switch finetune`."""

import contextlib
import dataclasses

import keras

from keras_switch import training
from keras_switch.cli import sources
from keras_switch.cli.adaptation import Adaptation
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import batches_for, mesh_of
from keras_switch.cli.observing import observers_of
from keras_switch.cli.run_config import RunConfig
from keras_switch.data import DataConfig
from keras_switch.evaluation import TaskMetrics
from keras_switch.partitioning.clients import clients_on
from keras_switch.training import config_file, run_folder


def finetune(
    source: str,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    adaptation: Adaptation,
    eval_data: DataConfig | None = None,
    checkpoint: str | int = run_folder.NEWEST,
    dtype: str = "float32",
    seed: int = 0,
    mesh_shape: str | None = None,
    layout_rules: str | None = None,
    metrics: TaskMetrics | None = None,
    save_config=None,
):
    """Trains a model from a checkpoint; goes on by itself if `model_dir` holds one.

    Args:
        source: `--model_dir` of a run, a preset's folder, or a published checkpoint:
            see `convert`.
        optimizer: makes slots for the weights that are trained, and no others.
        loss: what is minimized, together with the routers' losses.
        data: batches to train on.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        adaptation: dropout, LoRA, and which weights are trained.
        eval_data: batches to evaluate on, from the start each time; `None` for none.
        checkpoint: of a run: `"newest"`, `"best"`, or a step that is kept.
        dtype: dtype policy.
        seed: of dropout, of exploration, and of LoRA's first weights.
        mesh_shape: see `train`.
        layout_rules: see `train`.
        metrics: see `train`.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if the source has no weights, or model, batch and mesh do not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    found = sources.read(source, dtype, checkpoint)
    config = adaptation.config(found.config)
    mesh = mesh_of(config, dtype, mesh_shape, layout_rules)
    clients = clients_on(mesh)
    config_file.check(model_dir, config)
    keras.utils.set_random_seed(seed)
    with mesh or contextlib.nullcontext():
        network = language_model(config, dtype)
    sources.give(found, network)
    chosen = adaptation.choose(network)
    if clients.is_first:
        _tell(save_config, model_dir, mesh, f"Fine-tunes {found.origin}: {chosen}")
    del found
    return training.train(
        network,
        optimizer,
        loss,
        batches_for(data, config, clients),
        eval_data=eval_data and batches_for(eval_data, config, clients),
        model_dir=model_dir,
        config=config,
        observers=observers_of(metrics, eval_data or data, config, model_dir, clients),
        **dataclasses.asdict(run),
    )


def _tell(save_config, model_dir, mesh, text):
    if save_config is not None:
        save_config(model_dir)
    if mesh is not None:
        print(mesh.description(), flush=True)
    print(text, flush=True)
