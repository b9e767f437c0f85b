"""Rows out of files of the user's own; a row that does not parse is named by its line.

    .tsv      columns between tabs, the first line names them
    .jsonl    an object on each line
    .txt      a text on each line, in the column `text`

Each may be compressed (`.gz`). Lines that are empty are passed over.
"""

import gzip
import json
import pathlib

ANSWERS = "answers"


def rows(path: str) -> list[tuple[int, dict]]:
    """Returns the rows of a file, each with the number of its line, from 1.

    Args:
        path: the file; its ending says what it is.

    Raises:
        ValueError: if the ending is none of the above, or a line does not parse; says
            which.
        FileNotFoundError: if there is no such file.
    """
    file = pathlib.Path(path).expanduser()
    ending = file.name.removesuffix(".gz").rpartition(".")[2]
    if ending not in _READERS:
        raise ValueError(
            f"{file}: files of tasks end in "
            f"{', '.join('.' + known for known in _READERS)} (or those and .gz)."
        )
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no file {file} (looked for in {pathlib.Path.cwd()})."
        )
    return _READERS[ending](file, _lines(file))


def _lines(file):
    """Returns the lines that are not empty, with their numbers."""
    content = file.read_bytes()
    if file.suffix == ".gz":
        content = gzip.decompress(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}:{line}: not UTF-8: {error.reason}.") from error
    lines = enumerate(text.split("\n"), 1)
    return [(n, line.removesuffix("\r")) for n, line in lines if line.strip()]


def _tsv(file, lines):
    if not lines:
        return []
    (_, head), *rest = lines
    names = head.split("\t")
    if len(set(names)) < len(names):
        raise ValueError(f"{file}:1: two columns have the same name: {names}.")
    return [(n, _tsv_row(file, n, line, names)) for n, line in rest]


def _tsv_row(file, number, line, names):
    values = line.split("\t")
    if len(values) != len(names):
        raise ValueError(
            f"{file}:{number}: {len(values)} columns, but the first line names "
            f"{len(names)}: {', '.join(names)}."
        )
    return dict(zip(names, values, strict=True))


def _json_lines(file, lines):
    return [(n, _json_row(file, n, line)) for n, line in lines]


def _json_row(file, number, line):
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}:{number}: not JSON: {error.msg} at column {error.colno}."
        ) from error
    if not isinstance(row, dict):
        raise ValueError(f"{file}:{number}: {line[:40]!r} is not an object {{...}}.")
    return row


def _text(file, lines):
    del file
    return [(n, {"text": line}) for n, line in lines]


_READERS = {"tsv": _tsv, "jsonl": _json_lines, "json": _json_lines, "txt": _text}
