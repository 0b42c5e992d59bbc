"""EXIF orientation: turn stored arrays upright, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TURNS", "stored", "upright"]

_Turn = Callable[[NDArray[Any]], NDArray[Any]]

#: by EXIF orientation, the function that turns the stored image upright
TURNS: dict[int, _Turn] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
_BACK = {6: 8, 8: 6}


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a stored image upright.

    Args:
        array: (h, w, ...) of any dtype, as stored in the file.
        orientation: 1 to 8, as in EXIF; 1 is upright already.

    Returns:
        The upright image, contiguous, of the same dtype: (w, h, ...) for orientations 5 to 8, otherwise (h, w, ...). It
        is the same array if that is upright and contiguous already.

    Raises:
        KeyError: the orientation is not one of 1 to 8.
    """
    return np.ascontiguousarray(TURNS[orientation](array))


def stored(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an upright image back into the orientation of its file: the reverse of `upright`.

    Args:
        array: (h, w, ...) of any dtype, upright.
        orientation: 1 to 8, as in EXIF: that of the file.

    Returns:
        The image as it is stored, contiguous, of the same dtype. Its shape is (w, h, ...) for orientations 5 to 8,
        otherwise (h, w, ...).

    Raises:
        KeyError: the orientation is not one of 1 to 8.
    """
    return upright(array, _BACK.get(orientation, orientation))
