"""Images side by side, for a notebook."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["show"]


class HasImage(Protocol):
    """A value with an image, such as an `ImageResult`."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(h, w) or (h, w, 3) uint8 RGB."""


def show(
    *pictures: HasImage | NDArray[np.uint8],
    titles: tuple[str, ...] = (),
    width: float = 12.0,
    columns: int | None = None,
) -> Figure:
    """Show images side by side.

    Grey images are shown as they are: 0 is black and 255 is white, whatever values occur.

    Examples:
        >>> show(result.picture.rgb(), result, result.binary_mask, titles=("before", "after", "mask"))

    Args:
        pictures: results, or arrays (h, w) grey or (h, w, 3) RGB, uint8.
        titles: titles of the first images; default: none.
        width: width of the whole figure in inches.
        columns: images in a row; default: all of them.

    Returns:
        A figure of matplotlib, which a notebook shows if it is the last value of a cell.

    Raises:
        ValueError: there is no image, or `columns` is less than 1.
    """
    if not pictures:
        raise ValueError("show needs at least one picture")
    across = min(columns if columns is not None else len(pictures), len(pictures))
    if across < 1:
        raise ValueError(f"columns must be 1 or more, not {columns}")
    from matplotlib.figure import Figure

    arrays = [picture if isinstance(picture, np.ndarray) else picture.image for picture in pictures]
    aspects = [array.shape[0] / array.shape[1] for array in arrays]
    rows = [max(aspects[first : first + across]) for first in range(0, len(arrays), across)]
    figure = Figure(figsize=(width, width / across * sum(rows) + 0.4 * len(rows)), layout="constrained")
    cells = figure.subplots(len(rows), across, squeeze=False, height_ratios=rows).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, array, title in zip(cells, arrays, titles + ("",) * len(arrays), strict=False):
        axes.imshow(array, cmap="gray" if array.ndim == 2 else None, vmin=0, vmax=255)
        # long names would run into those of the neighbours
        axes.set_title("\n".join(textwrap.wrap(title, max(int(width * 8 / across), 12))))
    return figure
