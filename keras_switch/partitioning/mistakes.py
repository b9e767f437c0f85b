"""Errors that tell every mistake at once, each with the nearest thing that is right."""

import difflib


def refuse(what, mistakes):
    """Raises one `ValueError` with every mistake, or returns if there is none."""
    if mistakes:
        raise ValueError(f"{what}:\n- " + "\n- ".join(mistakes))


def nearest(name, known, count=1):
    """Returns the names in `known` that are written most like `name`, in quotes."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], count, 0.0)
    return listed(near) or "none"


def listed(names):
    """Returns names in quotes, separated by commas."""
    return ", ".join(map(repr, names))


def pairs(text, example):
    """Splits `"a:b,c:d"`.

    Args:
        text: the string.
        example: a good one, for the error.

    Returns:
        The pairs of strings that could be read, and one sentence for every part that
        could not.
    """
    found, mistakes = [], []
    if not isinstance(text, str):
        return [], [f"{text!r} is no string: write it like {example!r}"]
    for part in (part.strip() for part in text.split(",")):
        left, colon, right = (piece.strip() for piece in part.partition(":"))
        if colon and left and right and ":" not in right:
            found.append((left, right))
        elif part or "," in text:
            mistakes.append(
                f"{part!r} is no pair 'name:value': write it like {example!r}"
            )
    return found, mistakes
