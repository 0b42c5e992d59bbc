"""Plain text tables for terminals: what `__str__` and `table()` of evaluation results return."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["text_table"]


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format rows as aligned columns.

    Args:
        columns: the headings.
        rows: the cells, as many in each row as there are headings.

    Returns:
        One line for the headings, and one for each row.
    """
    lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
