"""Make `pandas` data frames; the package is imported only here, and only when one is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import pandas

__all__ = ["data_frame"]


def data_frame(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, index: Sequence[str] | None = None
) -> pandas.DataFrame:
    """Make a data frame.

    Args:
        columns: the names of the columns.
        rows: the values, as many in each row as there are columns.
        index: the names of the rows; default: numbers from 0 up.

    Raises:
        ImportError: the package `pandas` is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("This needs the package pandas: run `pip install pandas`.") from error
    names = None if index is None else list(index)
    return cast("pandas.DataFrame", pandas.DataFrame(list(rows), columns=list(columns), index=names))
