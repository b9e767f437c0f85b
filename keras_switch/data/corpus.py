"""The embedded corpus: English documentation that every Python installation carries.

The docstrings of the standard library, NumPy, Keras and TensorFlow, and the help topics
of `pydoc`: about a million words. Sources are read as text; nothing is imported or run.
The same installation always gives the same documents in the same order; another version
of a package gives others, so no expected loss may be written down to many digits.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import pathlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator

from keras_switch.data import prose
from keras_switch.data.cache import cached

PACKAGES = ("stdlib", "numpy", "keras", "tensorflow")
SPLITS = ("train", "validation")

_REVISION = 1  # of the rules in this file and in prose.py: part of the cache's key
_SKIPPED_FOLDERS = {
    *("site-packages", "dist-packages", "__pycache__", "_api", "lib2to3"),
    *("test", "tests", "idle_test", "testing"),
}
_NOT_LETTERS = re.compile(r"[^a-z]+")


@functools.cache
def documents(
    split: str | None = None, packages: tuple[str, ...] = PACKAGES
) -> tuple[str, ...]:
    """Returns the documents of the corpus, one line of text each.

    A document is the prose of one docstring or help topic. No paragraph occurs twice.
    The first call on an installation reads the sources, about ten seconds, and keeps
    the result in the cache folder.

    Args:
        split: `"train"`, `"validation"` (3 %, by a hash of the content), or `None` for
            both.
        packages: where to read; `"stdlib"` stands for the standard library with the
            help topics. Packages that are not installed are left out.

    Raises:
        ValueError: if there is no such split, or none of the packages is installed.
    """
    if split is not None:
        return tuple(_in_split(documents(None, packages), split))
    files = sorted_files(packages)
    path = cached(f"corpus-{_fingerprint(files)}.txt", lambda: _text_of(files))
    return tuple(path.read_text(encoding="utf-8").splitlines())


def _in_split(texts: Iterable[str], split: str) -> Iterator[str]:
    if split not in SPLITS:
        raise ValueError(
            f"The embedded corpus has no split {split!r}. Its splits are "
            f"{', '.join(SPLITS)}."
        )
    return (text for text in texts if _is_validation(text) == (split == "validation"))


def _is_validation(text):
    """Keeps one document in 32 out of training, whatever stands around it."""
    return hashlib.blake2b(text.encode(), digest_size=1).digest()[0] < 8


def sorted_files(packages: tuple[str, ...]) -> list[pathlib.Path]:
    """Returns the Python files of these packages, each package sorted by path."""
    folders = [folder for folder in map(_folder, packages) if folder]
    if not folders:
        raise ValueError(f"None of the packages {packages} is installed here.")
    return [file for folder in folders for file in _python_files(folder)]


def _folder(package):
    if package == "stdlib":
        return sysconfig.get_paths()["stdlib"]
    spec = importlib.util.find_spec(package)  # of a top-level name: imports nothing
    return spec and spec.origin and os.path.dirname(spec.origin)


def _python_files(folder):
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith(".py") and not name.endswith("_test.py"):
                yield pathlib.Path(root, name)


def _fingerprint(files):
    """Hashes what identifies the sources without reading them."""
    key = hashlib.sha256(f"{_REVISION} {sys.version}".encode())
    for file in files:
        stat = file.stat()
        key.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return key.hexdigest()[:16]


def _text_of(files):
    return "".join(f"{text}\n" for text in _unique(map(_texts, files))).encode()


def _unique(groups: Iterable[Iterable[str]]) -> Iterator[str]:
    """Yields documents; a paragraph seen before is dropped, letters alone compared."""
    seen = set()
    for text in (text for texts in groups for text in texts):
        kept = []
        for paragraph in prose.paragraphs(text):
            letters = _NOT_LETTERS.sub(" ", paragraph.lower())
            if letters not in seen:
                seen.add(letters)
                kept.append(paragraph)
        if kept:
            yield " ".join(kept)


def _texts(file):
    """Yields the help topics or docstrings of one Python file."""
    try:
        source = file.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return  # another encoding, or a file that this user may not read
    if file.parts[-2:] == ("pydoc_data", "topics.py"):
        yield from _topics(source)
    else:
        yield from prose.docstrings(source)


def _topics(source):
    """Yields the values of the one dictionary that the file assigns."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            yield from ast.literal_eval(statement.value).values()
