"""`keras-switch distill`."""

import contextlib
import dataclasses

import keras

from keras_switch import distillation
from keras_switch.cli import sources
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import batches_for, mesh_of
from keras_switch.cli.run_config import RunConfig
from keras_switch.data import DataConfig
from keras_switch.distillation import NonExpertWeights, SoftTargets, cache, teachers
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_on
from keras_switch.training import config_file, run_folder


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """Who teaches, and where.

    Args:
        source: `--model_dir` of a run, a preset's folder, a published checkpoint (see
            `convert`); a SavedModel's folder; or a folder of `cache_logits`.
        checkpoint: of a run: `"newest"`, `"best"`, or a step that is kept.
        dtype: dtype policy of a model.
        mesh_shape: axes of a mesh of its own; `None`: where the student is.
        layout_rules: dimensions over the axes of that mesh.
    """

    source: str
    checkpoint: str | int = run_folder.NEWEST
    dtype: str = "float32"
    mesh_shape: str | None = None
    layout_rules: str | None = None

    @property
    def is_cache(self) -> bool:
        """Whether the teacher's answers were computed before."""
        return cache.is_cache(self.source)

    def made(self, mesh):
        """Returns what `distillation.as_teacher` takes; `None` for a cache.

        Args:
            mesh: the student's, or `None`.
        """
        if self.is_cache:
            return None
        if teachers.is_saved_model(self.source):
            return teachers.SavedModelTeacher(self.source)
        found = sources.read(self.source, self.dtype, self.checkpoint)
        if self.mesh_shape is not None:
            shape, rules = self.mesh_shape, self.layout_rules
            mesh = mesh_of(found.config, self.dtype, shape, rules)
        if mesh is None:
            return found.model
        with mesh:
            model = language_model(found.config, self.dtype)
        sources.give(found, model)
        return model


def distill(
    model: ModelConfig,
    teacher: TeacherConfig,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
    data: DataConfig,
    run: RunConfig,
    model_dir: str,
    soft_targets: SoftTargets,
    initialize: NonExpertWeights | None = None,
    source: str | None = None,
    eval_data: DataConfig | None = None,
    dtype: str = "float32",
    seed: int = 0,
    mesh_shape: str | None = None,
    layout_rules: str | None = None,
    save_config=None,
):
    """Trains a student on true words and a teacher's probabilities; goes on by itself.

    The run's folder is that of the student, as `train` would have made it.

    Args:
        model: the student.
        teacher: who teaches.
        optimizer: of the student.
        loss: the hard loss.
        data: batches to train on; of a cached teacher only batch size, split and seed
            count.
        run: steps, and how often to evaluate, to save and to log.
        model_dir: folder for checkpoints, logs and the configuration.
        soft_targets: how much the student listens.
        initialize: `NonExpertWeights()` gives the student the teacher's; `None`: none.
        source: checkpoint that the student starts from, before `initialize`; `None`:
            fresh weights.
        eval_data: batches to evaluate the student on; `None` for none.
        dtype: dtype policy of the student.
        seed: of the student's weights, of dropout and of exploration.
        mesh_shape: see `train`.
        layout_rules: see `train`.
        save_config: function of the folder that writes the configuration there.

    Returns:
        The `training.History`.

    Raises:
        ValueError: if teacher and student have different vocabularies, or something
            does not fit.
        CheckpointError: if `model_dir` belongs to another model.
    """
    mesh = mesh_of(model, dtype, mesh_shape, layout_rules)
    clients = clients_on(mesh)
    config_file.check(model_dir, model)
    keras.utils.set_random_seed(seed)
    with mesh or contextlib.nullcontext():
        student = language_model(model, dtype)
    if source is not None:
        sources.give(sources.read(source, dtype), student)
    who = teacher.made(mesh)
    notes = [f"Teacher {teacher.source}: {soft_targets}"]
    if initialize is not None:
        _check_can_give(who, teacher)
        notes.append(str(initialize.copy(who, student)))
    if clients.is_first:
        if save_config is not None:
            save_config(model_dir)
        print("\n".join([*([mesh.description()] if mesh else []), *notes]), flush=True)
    return distillation.distill(
        student,
        who,
        optimizer,
        loss,
        _batches(data, teacher, model, clients),
        soft_targets=soft_targets,
        eval_data=eval_data and batches_for(eval_data, model, clients),
        model_dir=model_dir,
        config=model,
        **dataclasses.asdict(run),
    )


def _batches(data, teacher, model, clients):
    if not teacher.is_cache:
        return batches_for(data, model, clients)
    return distillation.cached_batches(
        teacher.source,
        data.batch_size,
        data.split,
        shuffle=data.shuffle,
        seed=data.seed,
        num_epochs=data.num_epochs,
        num_shards=clients.share.of,
        shard=clients.share.index,
        model=model,
    )


def _check_can_give(who, teacher):
    if isinstance(who, keras.Model):
        return
    kind = "cached logits" if teacher.is_cache else "a SavedModel"
    raise ValueError(
        f"{teacher.source} is {kind}: it has no weights to give the student. Set "
        "--gin.INITIALIZE=None, or give the run or preset that it was made of as "
        "--gin.STUDENT."
    )
