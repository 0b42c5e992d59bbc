"""Pictures side by side, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["show"]


class Shown(Protocol):
    """What has a picture, such as an `ImageResult`."""

    @property
    def image(self) -> NDArray[np.uint8]: ...


def show(*pictures: Shown | NDArray[np.uint8], titles: tuple[str, ...] = (), width: float = 12.0) -> Figure:
    """Draw pictures beside each other.

    Args:
        pictures: results, or (h, w) or (h, w, 3) uint8 arrays.
        titles: one for each, where wanted.
        width: of the whole figure, in inches.

    Raises:
        ValueError: there is no picture.
    """
    if not pictures:
        raise ValueError("show needs at least one picture")
    from matplotlib.figure import Figure

    arrays = [each if isinstance(each, np.ndarray) else each.image for each in pictures]
    aspect = max(each.shape[0] / each.shape[1] for each in arrays)
    figure = Figure(figsize=(width, width / len(arrays) * aspect + 0.4), layout="constrained")
    for axes, array, title in zip(
        figure.subplots(1, len(arrays), squeeze=False)[0], arrays, titles + ("",) * len(arrays), strict=False
    ):
        axes.imshow(array, cmap="gray" if array.ndim == 2 else None)
        axes.set_title(title)
        axes.set_axis_off()
    return figure
