"""Who teaches and who learns: what `distill` and `cache-logits` are told of them."""

import dataclasses

import keras

from keras_switch.cli import sources
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import ONE_DEVICE, PlacementConfig
from keras_switch.distillation import NonExpertWeights, SoftTargets, cache, teachers
from keras_switch.models import ModelConfig
from keras_switch.training import run_folder


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """Who learns, and from which weights.

    Args:
        model: what the student is.
        source: checkpoint that it starts from, before `initialize`; `None`: fresh
            weights.
        initialize: `NonExpertWeights()` gives it the teacher's; `None`: none.
    """

    model: ModelConfig
    source: str | None = None
    initialize: NonExpertWeights | None = None

    def start(self, student, dtype):
        """Gives a student the weights of `source`, if there is one."""
        if self.source is not None:
            sources.give(sources.read(self.source, dtype), student)


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """Who teaches, where, and how much it counts.

    Args:
        source: `--model_dir` of a run, a preset's folder, a published checkpoint (see
            `convert`); a SavedModel's folder; or a folder of `cache_logits`.
        checkpoint: of a run: `"newest"`, `"best"`, or a step that is kept.
        soft_targets: how much the student listens.
        placement: dtype policy of a model, and a mesh of its own; without one it is
            where the student is.
    """

    source: str
    checkpoint: str | int = run_folder.NEWEST
    soft_targets: SoftTargets = SoftTargets()
    placement: PlacementConfig = ONE_DEVICE

    @property
    def is_cache(self) -> bool:
        """Whether the teacher's answers were computed before."""
        return cache.is_cache(self.source)

    def made(self, mesh=None):
        """Returns what `distillation.as_teacher` takes; `None` for a cache.

        Args:
            mesh: the student's, or `None`.
        """
        if self.is_cache:
            return None
        if teachers.is_saved_model(self.source):
            return teachers.SavedModelTeacher(self.source)
        found = sources.read(self.source, self.placement.dtype, self.checkpoint)
        mesh = self.placement.mesh(found.config) or mesh
        if mesh is None:
            return found.model
        model = language_model(found.config, self.placement.dtype, mesh)
        sources.give(found, model)
        return model

    def given(self, initialize: NonExpertWeights, who, student) -> str:
        """Gives a student the teacher's weights; returns what to tell of it.

        Args:
            initialize: which weights.
            who: what `made` returned.
            student: the model.

        Raises:
            ValueError: if the teacher has no weights to give.
        """
        if not isinstance(who, keras.Model):
            kind = "cached logits" if self.is_cache else "a SavedModel"
            raise ValueError(
                f"{self.source} is {kind}: it has no weights to give the student. Set "
                "--gin.INITIALIZE=None, or give the run or preset that it was made of "
                "as --gin.STUDENT."
            )
        return str(initialize.copy(who, student))
