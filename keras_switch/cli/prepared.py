"""What all commands that train have in common."""

import dataclasses

import keras

from keras_switch import training
from keras_switch.cli.building import language_model
from keras_switch.cli.meshes import PlacementConfig, batches_for
from keras_switch.cli.run_config import EvaluationConfig, RunConfig
from keras_switch.evaluation import TaskEvaluation
from keras_switch.models import ModelConfig
from keras_switch.partitioning.clients import clients_on
from keras_switch.training import config_file


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model where it will be trained.

    Args:
        model: language model.
        config: what it is.
        mesh: where it lies; `None`: on one device.
        run: its course.
        model_dir: folder of the run.
    """

    model: object
    config: ModelConfig
    mesh: object
    run: RunConfig
    model_dir: str

    @property
    def clients(self):
        """The processes that train it."""
        return clients_on(self.mesh)

    def begin(self, save_config=None, *notes):
        """Saves the configuration and tells what begins; one process does.

        Args:
            save_config: function of the folder that writes the configuration there.
            *notes: lines to print below the mesh.
        """
        if not self.clients.is_first:
            return
        if save_config is not None:
            save_config(self.model_dir)
        lines = [*([self.mesh.description()] if self.mesh else []), *notes]
        if lines:
            print("\n".join(lines), flush=True)

    def batches(self, data):
        """Returns this process's part of the batches of a `DataConfig`."""
        return batches_for(data, self.config, self.clients)

    def options(self, evaluation: EvaluationConfig | None) -> dict:
        """Returns what every command tells `training.train`, by name."""
        return {
            "eval_data": evaluation and self.batches(evaluation.data),
            "observers": evaluation and self._observers(evaluation),
            "model_dir": self.model_dir,
            "config": self.config,
            **self.run.options,
        }

    def _observers(self, evaluation):
        """Returns the usual observers and one that measures tasks if asked for."""
        if evaluation.metrics is None:
            return None  # the usual ones
        what = evaluation.metrics, evaluation.data, self.config, self.model_dir
        return [*training.usual_observers(self.model_dir), TaskEvaluation(*what)]


def prepared(
    config: ModelConfig, placement: PlacementConfig, run: RunConfig, model_dir: str
) -> Prepared:
    """Returns a fresh model where it will be trained.

    On several processes (see `partitioning/environment.py`) every one calls this.

    Raises:
        ValueError: if model and mesh do not fit.
        CheckpointError: if the folder belongs to another model.
    """
    mesh = placement.mesh(config)
    config_file.check(model_dir, config)
    keras.utils.set_random_seed(run.seed)
    model = language_model(config, placement.dtype, mesh)
    return Prepared(model, config, mesh, run, model_dir)
