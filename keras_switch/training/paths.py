"""Paths of a run: on this machine, or at an address such as `gs://bucket/folder`.

Addresses are opened by TensorFlow's file systems, which also write the checkpoints. An
object store moves a folder object by object: no name of a folder is a promise here,
only that of a single file.
"""

import contextlib
import fnmatch
import pathlib
import shutil

import tensorflow as tf


def path_of(name):
    """Returns a `pathlib.Path`, or a `RemotePath` for a name with `://`.

    Args:
        name: string or path.
    """
    if isinstance(name, RemotePath):
        return name
    return RemotePath(name) if is_remote(name) else pathlib.Path(name)


def is_remote(name) -> bool:
    """Returns whether a name is an address rather than a path on this machine."""
    return "://" in str(name)


def remove_tree(folder):
    """Removes a folder with all that is in it."""
    if isinstance(folder, pathlib.Path):
        shutil.rmtree(folder)
        return
    with _as_os_error(folder):
        tf.io.gfile.rmtree(str(folder))


class RemotePath:
    """What a run needs of `pathlib.Path`, for an address; errors are `OSError`s.

    Args:
        address: `scheme://rest`.
    """

    def __init__(self, address):
        self._scheme, _, rest = str(address).partition("://")
        self._rest = rest.rstrip("/")

    def __str__(self):
        return f"{self._scheme}://{self._rest}"

    def __repr__(self):
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other):
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self):
        return hash(str(self))

    def __lt__(self, other):
        return str(self) < str(other)

    def __truediv__(self, name):
        return RemotePath(f"{self}/{name}")

    @property
    def scheme(self):
        """What stands before `://`."""
        return self._scheme

    @property
    def name(self):
        return self._rest.rpartition("/")[2]

    @property
    def suffix(self):
        return pathlib.PurePosixPath(self.name).suffix

    @property
    def parent(self):
        return RemotePath(f"{self._scheme}://{self._rest.rpartition('/')[0]}")

    def with_suffix(self, suffix):
        return self.parent / pathlib.PurePosixPath(self.name).with_suffix(suffix)

    def absolute(self):
        return self

    def exists(self):
        with _as_os_error(self):
            return tf.io.gfile.exists(str(self))

    def is_dir(self):
        with _as_os_error(self):
            return tf.io.gfile.isdir(str(self))

    def is_file(self):
        return self.exists() and not self.is_dir()

    def iterdir(self):
        with _as_os_error(self):
            names = tf.io.gfile.listdir(str(self))
        return [self / name.rstrip("/") for name in names]

    def glob(self, pattern):
        """Returns what in this folder has a name of this pattern, without `/`."""
        if not self.is_dir():
            return []
        return [p for p in self.iterdir() if fnmatch.fnmatchcase(p.name, pattern)]

    def mkdir(self, parents=True, exist_ok=True):
        with _as_os_error(self):
            tf.io.gfile.makedirs(str(self))

    def open(self, mode="r"):
        return tf.io.gfile.GFile(str(self), mode)

    def read_text(self):
        with _as_os_error(self), self.open() as file:
            return file.read()

    def write_text(self, text):
        self.write_bytes(text.encode())

    def write_bytes(self, data):
        with _as_os_error(self), self.open("wb") as file:
            file.write(data)

    def unlink(self):
        with _as_os_error(self):
            tf.io.gfile.remove(str(self))

    def replace(self, target):
        """Moves this file over another one, or to where none is."""
        with _as_os_error(self):
            tf.io.gfile.rename(str(self), str(target), overwrite=True)

    rename = replace


@contextlib.contextmanager
def _as_os_error(path):
    """Turns TensorFlow's errors about a path into Python's, with a way out."""
    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{path} is not there") from error
    except tf.errors.UnimplementedError as error:
        known = [f"{s}://" for s in sorted(tf.io.gfile.get_registered_schemes()) if s]
        raise OSError(
            f"TensorFlow here opens {', '.join(known)}, but not {path.scheme}://: "
            "install what brings that file system (tensorflow-io), or mount it and "
            "give the folder"
        ) from error
    except tf.errors.OpError as error:
        raise OSError(f"{path}: {error.message.strip().splitlines()[0]}") from error
