"""Small pieces of HTML for notebooks: what `_repr_html_` of results, detections and profiles is made of."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

__all__ = ["html_images", "html_table"]

#: how wide a row of images is at most, in pixels
MOST_WIDTH = 1000


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", note: str = "") -> str:
    """Make a table.

    Args:
        columns: the headings.
        rows: the cells, as many in each row as there are headings. Numbers are aligned to the right; fractions get
            three digits, None is an empty cell.
        title: stands above the table.
        note: stands below the table.

    Returns:
        HTML; all texts are escaped.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    above = f"<caption>{escape(title)}</caption>" if title else ""
    below = f"<p>{escape(note)}</p>" if note else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cell(value: object) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, Real) and not isinstance(value, bool):
        text = str(value) if isinstance(value, Integral) else f"{float(value):.3f}".rstrip("0").rstrip(".")
        return f'<td style="text-align: right">{text}</td>'
    return f"<td>{escape(str(value))}</td>"


def html_images(images: Sequence[tuple[str, NDArray[np.uint8]]], *, caption: str = "") -> str:
    """Show images side by side, made smaller so that all of them together are at most 1000 pixels wide.

    Args:
        images: titles, and (h, w, 3) uint8 RGB images.
        caption: stands below the images.

    Returns:
        HTML that contains the images as JPEG data.
    """
    width = MOST_WIDTH // max(len(images), 1)
    figures = "".join(
        f'<figure style="margin: 0 4px 0 0"><img src="data:image/jpeg;base64,{_jpeg(image, width - 4)}" '
        f'alt="{escape(title)}"><figcaption>{escape(title)}</figcaption></figure>'
        for title, image in images
    )
    below = f"<p>{escape(caption)}</p>" if caption else ""
    return f'<div style="display: flex">{figures}</div>{below}'


def _jpeg(image: NDArray[np.uint8], most_width: int) -> str:
    """The image as JPEG in base 64, at most so wide, and at most so high as it is wide."""
    # at first use: Django imports this module and does not need OpenCV
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, most_width / width, most_width / height)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return base64.b64encode(content.tobytes()).decode("ascii")
