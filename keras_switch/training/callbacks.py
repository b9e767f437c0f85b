"""Callbacks for plain `model.fit`."""

import json

import keras
import tensorflow as tf

from keras_switch.partitioning.clients import clients_of
from keras_switch.training import experts
from keras_switch.training.logs import write_experts
from keras_switch.training.paths import path_of


class ExpertLoad(keras.callbacks.Callback):
    """Writes what every expert of a model did in each epoch of `fit`.

    To TensorBoard: scalars and load of each sparse layer, and a picture of all loads.
    To `<log_dir>/experts.jsonl`: a line per epoch. Scalars averaged over the epoch are
    also in the progress bar and in the history, without this callback. Of several
    processes the first one writes.

    Args:
        log_dir: folder.

    Example:
        >>> model.fit(batches, callbacks=[ExpertLoad("logs")])
    """

    def __init__(self, log_dir):
        super().__init__()
        self.log_dir = path_of(log_dir)
        self._writer = None

    def on_train_begin(self, logs=None):
        if not experts.sparse_layers(self.model):
            raise ValueError(
                f"ExpertLoad found no SwitchFeedForward in {self.model.name!r}: there "
                "are no experts to tell about."
            )
        if not clients_of(self.model).is_first:
            return
        self._writer = tf.summary.create_file_writer(str(self.log_dir / "experts"))

    def on_test_begin(self, logs=None):
        # Validation resets the metrics: what they hold now is the training epoch's.
        if self._writer is not None:
            self._use = experts.expert_use(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self._use = None

    def on_epoch_end(self, epoch, logs=None):
        if self._writer is None:
            return
        use = self._use or experts.expert_use(self.model)
        with self._writer.as_default(step=epoch):
            write_experts(use)
        self._writer.flush()
        with (self.log_dir / "experts.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": epoch, "experts": use}) + "\n")

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
        self._writer = None
