"""`keras-switch distill`."""

import keras

from keras_switch import distillation
from keras_switch.cli.meshes import ONE_DEVICE, PlacementConfig
from keras_switch.cli.prepared import prepared
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.cli.teaching import StudentConfig, TeacherConfig
from keras_switch.data import DataConfig


def distill(
    student: StudentConfig,
    teacher: TeacherConfig,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    evaluation: EvaluationConfig | None = None,
    placement: PlacementConfig = ONE_DEVICE,
    save_config=None,
):
    """Trains a student on true words and a teacher's probabilities; goes on by itself.

    The run's folder is that of the student, as `train` would have made it.

    Args:
        student: who learns, and from which weights.
        teacher: who teaches, where, and how much it counts.
        optimizer: of the student.
        loss: the hard loss.
        data: batches to train on; of a cached teacher only batch size, split and seed
            count.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        evaluation: of the student; see `train`.
        placement: of the student; see `train`.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if teacher and student have different vocabularies, or something
            does not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    ready = prepared(student.model, placement, run, model_dir)
    student.start(ready.model, placement.dtype)
    who = teacher.made(ready.mesh)
    notes = [f"Teacher {teacher.source}: {teacher.soft_targets}"]
    if student.initialize is not None:
        notes.append(teacher.given(student.initialize, who, ready.model))
    ready.begin(save_config, *notes)
    batches = _cached(data, teacher, ready) if who is None else ready.batches(data)
    return distillation.distill(
        ready.model,
        who,
        optimizer,
        loss,
        batches,
        soft_targets=teacher.soft_targets,
        **ready.options(evaluation),
    )


def _cached(data, teacher, ready):
    """Returns the rows that the teacher was asked about, with its answers."""
    share = ready.clients.share
    return distillation.cached_batches(
        teacher.source,
        data.batch_size,
        data.split,
        shuffle=data.shuffle,
        seed=data.seed,
        num_epochs=data.num_epochs,
        num_shards=share.of,
        shard=share.index,
        model=ready.config,
    )
