"""Weights by parts of their paths: `experts`, `decoder/block_0`, `encoder/*/mixer`.

A pattern is one name in a path, or several in a row; `*` stands for any characters,
also across names. It matches the weights in whose path it occurs, and those below.
"""

import fnmatch

from keras_switch.partitioning.mistakes import nearest

_SHOWN = 3


def matches(path: str, pattern: str) -> bool:
    """Returns whether a pattern occurs in a path as whole names."""
    return fnmatch.fnmatchcase(f"/{path}/", f"*/{pattern.strip('/')}/*")


def matching(paths, patterns, what: str) -> set[str]:
    """Returns the paths that at least one pattern matches.

    Args:
        paths: of weights.
        patterns: see the head of this file.
        what: what the patterns are, for errors.

    Raises:
        ValueError: naming every pattern that matches nothing, with the nearest paths.
    """
    paths = list(paths)
    found = {p: {path for path in paths if matches(path, p)} for p in patterns}
    mistakes = [
        f"{pattern!r} matches no weight; nearest: {nearest_to(pattern, paths)}"
        for pattern, matched in found.items()
        if not matched
    ]
    if mistakes:
        raise ValueError(
            f"{what}:\n- " + "\n- ".join(mistakes) + "\nA pattern is a name in the path"
            " of a weight, or several: 'experts', 'decoder/block_0', 'mixer/query'."
        )
    return set().union(*found.values())


def nearest_to(pattern: str, paths) -> str:
    """Returns the names or paths that are written most like a pattern."""
    if "/" in pattern:
        return nearest(pattern, paths, _SHOWN)
    names = {name for path in paths for name in path.split("/")}
    return nearest(pattern, sorted(names), _SHOWN)


def checked(owner: str, patterns) -> tuple[str, ...]:
    """Returns patterns as a tuple.

    Raises:
        ValueError: if they are no list of names.
    """
    strings = not isinstance(patterns, str) and isinstance(patterns, list | tuple)
    if not (strings and patterns and all(isinstance(p, str) and p for p in patterns)):
        raise ValueError(
            f"{owner} got {patterns!r}: give a list of parts of paths, such as "
            "['experts'] or ['decoder/block_0', 'router']."
        )
    return tuple(patterns)
