"""Plain text tables for terminals: what commands print, and what `table()` of evaluation results returns."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["align_columns", "text_table"]


def align_columns(rows: Sequence[Sequence[object]]) -> list[str]:
    """Lay out rows of cells with aligned columns.

    Args:
        rows: the cells, as many in each row as in the others.

    Returns:
        One line for each row.
    """
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def text_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table with a line of headings.

    Args:
        columns: the headings.
        rows: the cells, as many in each row as there are headings.
    """
    return "\n".join(align_columns([columns, *rows]))
