"""Text tables for a terminal."""

from keras_switch.partitioning.table import aligned


def table(rows, header=None) -> str:
    """Returns rows as aligned text: the first column to the left, others to the right.

    Args:
        rows: sequences of strings, all of one length.
        header: one more row, set off by a line; `None` for none.
    """
    rows = [tuple(row) for row in rows]
    lines = aligned([*([header] if header else []), *rows], gap=3)
    if header:
        lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
