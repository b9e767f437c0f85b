"""The best checkpoint of every task: the paper reports each task at its own peak.

"The peak performance on the validation set of each task": arXiv:2101.03961, section
3.1. Files, in the folder of a run: `peaks/<task>/ckpt-<step>.*` with the weights, and
`peaks.json` with the steps and values.
"""

import json

import tensorflow as tf

from keras_switch.partitioning.clients import clients_of
from keras_switch.training.checkpoint_folder import CheckpointFolder
from keras_switch.training.paths import path_of
from keras_switch.training.saving import CheckpointError, guarded
from keras_switch.training.variable_names import check, named

FILE, FOLDER = "peaks.json", "peaks"


class Peaks:
    """Keeps the weights with which a run did each task best.

    Args:
        model: a built Keras model.
        model_dir: folder of the run.
    """

    def __init__(self, model, model_dir):
        self.model_dir = path_of(model_dir)
        self._clients = clients_of(model)
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._weights = {**named("model", model.variables), "step": self._step}

    @property
    def best(self) -> dict[str, dict]:
        """By task: `step`, `score` and `values` of its peak so far."""
        file = self.model_dir / FILE
        return json.loads(file.read_text()) if file.exists() else {}

    def update(self, step: int, results) -> list[str]:
        """Saves the weights for every task that they do better than any before.

        On several processes all call this; what the first one finds holds.

        Args:
            step: of the run.
            results: by task: `TaskResult`.

        Returns:
            The tasks.

        Raises:
            CheckpointError: if they cannot be written; what was there stays.
        """
        best = {t: peak for t, peak in self.best.items() if peak["step"] <= step}
        better = [t for t in results if self._is_better(results[t], best.get(t))]
        self._step.assign(step)
        for task in better:
            folder = self._folder(task)
            with guarded(folder.folder, folder.latest, f"ckpt-{step}"):
                folder.write(step, self._weights)
            values = results[task].values
            best[task] = {"step": step, "score": results[task].score, "values": values}
        if better and self._clients.is_first:
            draft = self.model_dir / f"{FILE}.tmp"
            draft.write_text(json.dumps(best, indent=1))
            draft.replace(self.model_dir / FILE)
        return better

    def restore(self, task: str) -> int:
        """Restores the weights of a task's peak; returns their step.

        Raises:
            CheckpointError: if there is none, or it is of another model.
        """
        if task not in self.best:
            raise CheckpointError(
                f"There is no peak of task {task!r} in {self.model_dir / FOLDER}. "
                f"There are peaks of: {', '.join(self.best) or 'none'}. A run keeps "
                "them if it evaluates with TaskMetrics (METRICS in gin files)."
            )
        folder = self._folder(task)
        check(folder.latest, self._weights)
        folder.read(folder.latest, self._weights)
        return int(self._step)

    def _is_better(self, result, peak):
        better = peak is None or result.score > peak["score"]
        return self._clients.any(self._clients.is_first and better)

    def _folder(self, task):
        place = self.model_dir / FOLDER / task.replace(":", "_")
        return CheckpointFolder(place, self._clients, keep=1)
