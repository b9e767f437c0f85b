"""Text tables for a terminal."""


def table(rows, header=None) -> str:
    """Returns rows as aligned text: the first column to the left, others to the right.

    Args:
        rows: sequences of strings, all of one length.
        header: one more row, set off by a line; `None` for none.
    """
    rows = [tuple(row) for row in rows]
    everything = [*([header] if header else []), *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    lines = [_line(row, widths) for row in everything]
    if header:
        lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def _line(row, widths):
    first, *others = row
    cells = [first.ljust(widths[0])]
    cells += [cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True)]
    return "   ".join(cells)
