"""Checkpoints of a run: weights, optimizer, random seeds, step, position in the data.

Files: `<model_dir>/checkpoints/ckpt-<step>.*` (TensorFlow's format, written by
`tf.train.CheckpointManager`: a checkpoint exists only once it is complete),
`<model_dir>/best/` with the weights of the best evaluation, `<model_dir>/config.json`.
"""

import pathlib

import tensorflow as tf

from keras_switch.training import config_file
from keras_switch.training.saving import CheckpointError, guarded
from keras_switch.training.variable_names import check, named


class Checkpoints:
    """Saves and restores a run.

    Variables are told apart by their order in the model and by their paths without
    Keras's running numbers, so that a model made anew in the same process fits. A
    constant learning rate is not saved: it is the run's to choose.

    Args:
        model: a built Keras model.
        optimizer: a built Keras optimizer, or None to restore weights only.
        iterator: iterator of a `tf.data.Dataset`, or None. If TensorFlow cannot save
            its position (Python functions in the pipeline), the batches seen are
            skipped when the run goes on.
        model_dir: folder of the run; made if need be.
        config: what the model is: a dataclass, a dictionary or an object with
            `get_config`. Saved beside the checkpoints and compared when restoring.
        keep: number of checkpoints to keep; None keeps all.

    Raises:
        CheckpointError: if the folder cannot be made or written to.
    """

    def __init__(
        self, model, optimizer=None, iterator=None, model_dir=".", config=None, keep=3
    ):
        self.model_dir = pathlib.Path(model_dir)
        self.config = config
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.best_value = tf.Variable(float("inf"), trainable=False, name="best")
        self._iterator = iterator
        weights = {"model": named(model.variables), "step": self.step}
        state = {**weights, "best_value": self.best_value}
        if optimizer is not None:
            state["optimizer"] = named(_state(optimizer))
        self._best = self._manager(weights, "best", 1)
        self._saves_data = iterator is not None and self._can_save(iterator)
        if self._saves_data:
            state["iterator"] = iterator
        self._manager_ = self._manager(state, "checkpoints", keep)
        kinds = ("model", "optimizer")
        self._variables = {kind: state[kind] for kind in kinds if kind in state}

    @property
    def latest(self):
        """Path of the newest complete checkpoint, or None."""
        return self._manager_.latest_checkpoint

    @property
    def all(self):
        """Paths of the checkpoints that are kept, oldest first."""
        return list(self._manager_.checkpoints)

    @property
    def best(self):
        """Path of the weights with the best evaluation, or None."""
        return self._best.latest_checkpoint

    def save(self, step):
        """Saves everything as of `step`; returns the path.

        Raises:
            CheckpointError: if it cannot be written. Earlier checkpoints are intact.
        """
        self.step.assign(step)
        return self._save(self._manager_, step)

    def save_best(self, step, value):
        """Saves the weights if `value`, such as a loss, is the lowest so far.

        Returns:
            The path, or None if it was not the best.
        """
        if not value < float(self.best_value):
            return None
        self.step.assign(step)
        path = self._save(self._best, step)
        self.best_value.assign(value)
        return path

    def restore(self, path=None):
        """Restores the newest checkpoint, or the one at `path`.

        Returns:
            The step it was saved at; 0 if there is none and `path` is not given.

        Raises:
            CheckpointError: if the checkpoint is of another model.
        """
        path = path or self.latest
        if path is None:
            return 0
        config_file.check(self.model_dir, self.config)
        check(str(path), self._variables)
        self._read(self._manager_.checkpoint, str(path))
        step = int(self.step)
        if self._iterator is not None and not self._saves_data:
            for _ in range(step):
                next(self._iterator)
        return step

    def restore_best(self):
        """Restores the weights of the best evaluation; returns their step.

        Raises:
            CheckpointError: if there is none, or it is of another model.
        """
        if self.best is None:
            raise CheckpointError(
                f"No best checkpoint in {self.model_dir / 'best'}: it is saved after "
                "evaluations, so give the run evaluation data and `eval_every`."
            )
        config_file.check(self.model_dir, self.config)
        check(self.best, {"model": self._variables["model"]})
        self._read(self._best.checkpoint, self.best)
        return int(self.step)

    def _read(self, checkpoint, path):
        try:
            status = checkpoint.read(path)
            status.assert_existing_objects_matched().expect_partial()
        except AssertionError as error:
            raise CheckpointError(
                f"The checkpoint {path} lacks something that this run needs, such as "
                "the position in the data: it was saved by another kind of run."
            ) from error

    def _manager(self, state, folder, keep):
        folder = self.model_dir / folder
        with guarded(folder, None):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").write_text("")
            (folder / ".writable").unlink()
        return tf.train.CheckpointManager(
            tf.train.Checkpoint(**state), str(folder), keep
        )

    def _save(self, manager, step):
        prefix = f"ckpt-{step}"
        folder = pathlib.Path(manager.directory)
        with guarded(folder, manager.latest_checkpoint or self.latest, prefix):
            config_file.write(self.model_dir, self.config)
            return manager.save(checkpoint_number=step)

    def _can_save(self, iterator):
        """Returns whether TensorFlow can save the position of this iterator."""
        trial = self.model_dir / "checkpoints" / "trial"
        trial.parent.mkdir(parents=True, exist_ok=True)
        try:
            tf.train.Checkpoint(iterator=iterator).write(str(trial))
        except (tf.errors.FailedPreconditionError, tf.errors.UnimplementedError):
            return False
        finally:
            for file in trial.parent.glob("trial*"):
                file.unlink()
        return True


def _state(optimizer):
    return [v for v in optimizer.variables if v.name != "learning_rate"]
