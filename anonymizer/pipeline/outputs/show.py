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


def show(*pictures: HasImage | NDArray[np.uint8], titles: tuple[str, ...] = (), width: float = 12.0) -> Figure:
    """Show images side by side.

    Example:
        >>> show(result.picture.rgb(), result, result.binary_mask, titles=("before", "after", "mask"))

    Grey images are shown as they are: 0 is black and 255 is white, whatever values occur.

    Args:
        pictures: results, or arrays (h, w) grey or (h, w, 3) RGB, uint8.
        titles: titles of the first images; default: none.
        width: width of the whole figure in inches.

    Returns:
        A figure of matplotlib, which a notebook shows if it is the last value of a cell.

    Raises:
        ValueError: there is no image.
    """
    if not pictures:
        raise ValueError("show needs at least one picture")
    from matplotlib.figure import Figure

    arrays = [picture if isinstance(picture, np.ndarray) else picture.image for picture in pictures]
    aspect = max(array.shape[0] / array.shape[1] for array in arrays)
    figure = Figure(figsize=(width, width / len(arrays) * aspect + 0.4), layout="constrained")
    for axes, array, title in zip(
        figure.subplots(1, len(arrays), squeeze=False)[0], arrays, titles + ("",) * len(arrays), strict=False
    ):
        axes.imshow(array, cmap="gray" if array.ndim == 2 else None, vmin=0, vmax=255, interpolation="antialiased")
        # long names would run into those of the neighbours
        axes.set_title("\n".join(textwrap.wrap(title, max(int(width * 8 / len(arrays)), 12))))
        axes.set_axis_off()
    return figure
