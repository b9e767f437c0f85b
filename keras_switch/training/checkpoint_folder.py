"""A folder of checkpoints: each is there whole, or not at all.

Files of the checkpoint of step 7: `ckpt-7.data-*` with the values, `ckpt-7.input/` with
the position in the data of each process, and `ckpt-7.index`, TensorFlow's table of
contents. All are written to `ckpt-7_temp/` first and then moved, the index last: only
with it a checkpoint exists.
"""

import contextlib

import tensorflow as tf

from keras_switch.partitioning import files
from keras_switch.training.paths import path_of, remove_tree
from keras_switch.training.saving import CheckpointError, guarded, remove


class CheckpointFolder:
    """Writes checkpoints into a folder, and removes old ones.

    On several processes all call the same methods, and all see the same folder.

    Args:
        folder: path or address; made if need be.
        clients: the processes; see `partitioning.clients`.
        keep: number of checkpoints to keep; None keeps all.

    Raises:
        CheckpointError: if the folder cannot be made or written to, or the processes
            do not share it.
    """

    def __init__(self, folder, clients, keep=None):
        self.folder = path_of(folder)
        self.clients = clients
        self.keep = keep
        with guarded(self.folder, None), self._together():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sign(clients.index).write_text("")
        with guarded(self.folder, None), self._together():
            self._check_shared()
        with guarded(self.folder, None):
            self._sign(clients.index).unlink()

    @property
    def all(self):
        """Paths of the whole checkpoints, by step."""
        found = [path.with_suffix("") for path in self.folder.glob("ckpt-*.index")]
        return [str(path) for path in sorted(found, key=step_of)]

    @property
    def latest(self):
        """Path of the newest whole checkpoint, or None."""
        return (self.all or [None])[-1]

    def write(self, step, variables, iterator=None):
        """Writes a checkpoint; returns its path.

        Args:
            step: its number.
            variables: TensorFlow variables by name.
            iterator: of a dataset, whose position is saved; None saves none.
        """
        path = self.folder / f"ckpt-{step}"
        draft = self.folder / f"{path.name}_temp"
        is_first = self.clients.is_first
        with self._together():
            if is_first:
                self._clear()
                draft.mkdir()
        with self._together():
            parts = draft / f"part-{self.clients.index}"
            files.write(str(parts), variables, is_first)
            if iterator is not None:
                position = draft / "input" / self._place
                tf.train.Checkpoint(iterator=iterator).write(str(position))
        with self._together():
            if is_first:
                self._publish(draft, path)
        return str(path)

    def read(self, path, variables, iterator=None):
        """Assigns what the checkpoint at `path` holds.

        Returns:
            Whether it held the position of the iterator: it does if it was saved by as
            many processes as there are now.
        """
        files.read(path, variables)
        position = path_of(f"{path}.input") / self._place
        if iterator is None or not position.with_suffix(".index").exists():
            return False
        tf.train.Checkpoint(iterator=iterator).read(str(position)).assert_consumed()
        return True

    @property
    def _place(self):
        return f"{self.clients.index}-of-{self.clients.number}"

    def _publish(self, draft, path):
        """Makes a checkpoint of a draft; removes those that are too old."""
        parts = sorted(str(file.with_suffix("")) for file in draft.glob("part-*.index"))
        files.join(parts, str(draft / path.name))
        remove(self.folder, f"{path.name}.")
        if (draft / "input").exists():
            _move_files(draft / "input", path_of(f"{path}.input"))
        for file in draft.glob(f"{path.name}.data-*"):
            file.rename(self.folder / file.name)
        (draft / f"{path.name}.index").replace(f"{path}.index")
        remove_tree(draft)
        for old in self.all[: -self.keep] if self.keep else []:
            remove(self.folder, f"{path_of(old).name}.")

    def _clear(self):
        """Removes what a run that was killed left half written."""
        whole = {path_of(path).name for path in self.all}
        for file in self.folder.glob("ckpt-*"):
            if file.name.partition(".")[0] not in whole:
                remove(self.folder, file.name)

    def _sign(self, index):
        return self.folder / f".process-{index}"

    def _check_shared(self):
        there = [self._sign(index).exists() for index in range(self.clients.number)]
        if not all(there):
            raise CheckpointError(
                f"The {self.clients.number} processes of this run do not share the "
                f"folder {self.folder.absolute()}: each sees one of its own. Choose a "
                "model_dir on a disk that all of them see, such as NFS."
            )

    @contextlib.contextmanager
    def _together(self):
        """Waits until all processes are through; an error of one is one of all."""
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        failed = self.clients.any(error is not None)
        if error is not None:
            raise error
        if failed:
            raise CheckpointError(
                f"Another process of this run could not write to {self.folder}: its "
                "own message says why."
            )


def _move_files(folder, target):
    target.mkdir()
    for file in folder.iterdir():
        file.replace(target / file.name)


def step_of(path):
    """Returns the step of a checkpoint's path."""
    return int(path_of(path).name.removeprefix("ckpt-"))
