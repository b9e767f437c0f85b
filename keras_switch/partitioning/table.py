"""Rows of text in aligned columns."""


def aligned(rows, left=1, gap=2):
    """Returns rows as lines whose columns stand one below the other.

    Args:
        rows: sequences of strings, all of one length.
        left: columns that are set to the left, from the first on; others to the right.
        gap: spaces between columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [(" " * gap).join(_cells(row, widths, left)).rstrip() for row in rows]


def _cells(row, widths, left):
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if i < left else cell.rjust(width)
