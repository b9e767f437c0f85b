"""Checkpoints of a run: weights, optimizer, random seeds, step, position in the data.

Files: `<model_dir>/checkpoints/ckpt-<step>.*` (see `checkpoint_folder.py`),
`<model_dir>/best/` with the weights of the best evaluation, `<model_dir>/config.json`.
"""

import uuid

import tensorflow as tf

from keras_switch.partitioning.clients import clients_of
from keras_switch.training import config_file
from keras_switch.training.checkpoint_folder import CheckpointFolder
from keras_switch.training.paths import path_of
from keras_switch.training.saving import CheckpointError, guarded
from keras_switch.training.variable_names import check, named


class Checkpoints:
    """Saves and restores a run.

    Variables are told apart by their order in the model and by their paths without
    Keras's running numbers, so that a model made anew in the same process fits. A
    constant learning rate is not saved: it is the run's to choose.

    A model on a mesh writes every device's parts from where they are, and what one mesh
    wrote is restored, bit for bit, on any other and on one device. On several processes
    all call the same methods.

    Args:
        model: a built Keras model.
        optimizer: a built Keras optimizer, or None to restore weights only.
        iterator: iterator of a `tf.data.Dataset`, or None. If TensorFlow cannot save
            its position (Python functions in the pipeline), or another number of
            processes saved it, the batches seen are skipped when the run goes on.
        model_dir: folder of the run, or its address (`gs://...`); made if need be.
            Processes must share it.
        config: what the model is: a dataclass, a dictionary or an object with
            `get_config`. Saved beside the checkpoints and compared when restoring.
        keep: number of checkpoints to keep; None keeps all.

    Raises:
        CheckpointError: if the folder cannot be made or written to, or the processes
            do not share it.
    """

    def __init__(
        self, model, optimizer=None, iterator=None, model_dir=".", config=None, keep=3
    ):
        self.model_dir = path_of(model_dir)
        self.config = config
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.best_value = tf.Variable(float("inf"), trainable=False, name="best")
        self._clients = clients_of(model)
        self._weights = {**named("model", model.variables), "step": self.step}
        self._state = {**self._weights, "best_value": self.best_value}
        if optimizer is not None:
            self._state |= named("optimizer", _state(optimizer))
        self._best = self._folder("best", 1)
        self._folder_ = self._folder("checkpoints", keep)
        self._iterator = iterator
        self._saves_data = iterator is not None and self._can_save(iterator)

    @property
    def latest(self):
        """Path of the newest complete checkpoint, or None."""
        return self._folder_.latest

    @property
    def all(self):
        """Paths of the checkpoints that are kept, oldest first."""
        return self._folder_.all

    @property
    def best(self):
        """Path of the weights with the best evaluation, or None."""
        return self._best.latest

    def save(self, step):
        """Saves everything as of `step`; returns the path.

        Raises:
            CheckpointError: if it cannot be written. Earlier checkpoints are intact.
        """
        self.step.assign(step)
        iterator = self._iterator if self._saves_data else None
        return self._save(self._folder_, step, self._state, iterator)

    def save_best(self, step, value):
        """Saves the weights if `value`, such as a loss, is the lowest so far.

        Returns:
            The path, or None if it was not the best.
        """
        if not value < float(self.best_value):
            return None
        self.step.assign(step)
        path = self._save(self._best, step, self._weights)
        self.best_value.assign(value)
        return path

    def restore(self, path=None):
        """Restores the newest checkpoint, or the one at `path`.

        Returns:
            The step it was saved at; 0 if there is none and `path` is not given.

        Raises:
            CheckpointError: if the checkpoint is of another model.
        """
        path = self._agreed(path or self.latest)
        if path is None:
            return 0
        config_file.check(self.model_dir, self.config)
        check(path, self._state)
        iterator = self._iterator if self._saves_data else None
        found = self._folder_.read(path, self._state, iterator)
        step = int(self.step)
        if self._iterator is not None and not found:
            for _ in range(step):
                next(self._iterator)
        return step

    def restore_best(self):
        """Restores the weights of the best evaluation; returns their step.

        Raises:
            CheckpointError: if there is none, or it is of another model.
        """
        path = self._agreed(self.best)
        if path is None:
            raise CheckpointError(
                f"No best checkpoint in {self.model_dir / 'best'}: it is saved after "
                "evaluations, so give the run evaluation data and `eval_every`."
            )
        config_file.check(self.model_dir, self.config)
        check(path, self._weights)
        self._best.read(path, self._weights)
        return int(self.step)

    def _agreed(self, path):
        """Returns the path if all processes have found the same checkpoint."""
        step = -1 if path is None else int(str(path).rpartition("-")[2])
        if self._clients.differ(step):
            raise CheckpointError(
                f"The processes of this run find different checkpoints in "
                f"{self.model_dir}; this one finds {path}. Wait until the folder looks "
                "the same everywhere, then start again."
            )
        return path and str(path)

    def _folder(self, name, keep):
        return CheckpointFolder(self.model_dir / name, self._clients, keep)

    def _save(self, folder, step, variables, iterator=None):
        with guarded(folder.folder, folder.latest or self.latest, f"ckpt-{step}"):
            if self._clients.is_first:
                config_file.write(self.model_dir, self.config)
            return folder.write(step, variables, iterator)

    def _can_save(self, iterator):
        """Returns whether TensorFlow can save the position of this iterator."""
        trial = self.model_dir / "checkpoints" / f".trial-{uuid.uuid4().hex}"
        try:
            tf.train.Checkpoint(iterator=iterator).write(str(trial))
        except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError):
            return False
        finally:
            for file in trial.parent.glob(f"{trial.name}*"):
                file.unlink()
        return True


def _state(optimizer):
    return [v for v in optimizer.variables if v.name != "learning_rate"]
