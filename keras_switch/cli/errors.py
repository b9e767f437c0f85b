"""What a command says when its configuration is wrong."""

import dataclasses
import difflib
import pathlib
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a statement stands.

    Args:
        file: the gin file, or `"command line"`.
        line: its number there, from 1; 0 on the command line.
        text: the statement as written.
    """

    file: str
    line: int
    text: str

    def __str__(self):
        return f"{_shortened(self.file)}:{self.line}" if self.line else self.file


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One thing that is wrong, and where.

    Args:
        message: what came, what is needed, what to do.
        place: the statement at fault, or `None` if something is missing everywhere.
    """

    message: str
    place: Place | None = None

    def __str__(self):
        if self.place is None:
            return self.message
        return f"{self.place}: {self.message}\n    {self.place.text.strip()}"


class ConfigError(ValueError):
    """A configuration that cannot be run, with every mistake found in it.

    Args:
        mistakes: at least one.
    """

    def __init__(self, mistakes: Iterable[Mistake]):
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint with the nearest known names, ready to follow a sentence."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f" Did you mean {' or '.join(map(repr, close))}?"
    if 0 < len(known) <= 30:
        return f" Known: {', '.join(known)}."
    return ""


def _shortened(file: str) -> str:
    """Returns the path from here if the file is below, otherwise as it is."""
    if "://" in file:
        return file
    try:
        return str(pathlib.Path(file).resolve().relative_to(pathlib.Path.cwd()))
    except ValueError:
        return file
