"""Pictures side by side in a notebook."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from anonymizer import show

DARK, WIDE = np.full((40, 40), 1, np.uint8), np.zeros((20, 60, 3), np.uint8)


def test_grey_pictures_keep_their_values() -> None:
    figure = show(DARK, width=4)
    (image,) = figure.axes[0].images
    assert image.get_clim() == (0, 255)
    # the middle of the picture: a value of 1 is nearly black
    file = io.BytesIO()
    figure.savefig(file)
    shown = np.asarray(Image.open(file).convert("RGB"))
    assert shown[shown.shape[0] // 2, shown.shape[1] // 2].tolist() == [1, 1, 1]


def test_pictures_stand_in_rows_of_so_many_columns() -> None:
    figure = show(DARK, WIDE, WIDE, titles=("one",), width=12, columns=2)
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]
    # rows as high as their highest picture: 6 inches, and 2 inches
    assert figure.get_figheight() == pytest.approx(6 + 2 + 0.8)
    assert show(DARK, WIDE).get_figheight() == pytest.approx(6.4)


@pytest.mark.parametrize(
    ("pictures", "columns", "said"), [((), None, "at least one"), ((DARK,), 0, "columns must be 1")]
)
def test_nothing_to_show_is_an_error(pictures: tuple[np.ndarray, ...], columns: int | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        show(*pictures, columns=columns)
