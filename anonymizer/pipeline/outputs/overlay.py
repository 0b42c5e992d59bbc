"""Detections drawn on an image: their boxes, the outlines of what is redacted, and scores."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.redaction.effects import blend
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["COLOURS", "Stroke", "draw", "strokes"]

#: RGB by object type, used everywhere; from the palette of Okabe and Ito, which colour-blind people can tell apart
COLOURS: dict[ObjectType, tuple[int, int, int]] = {
    ObjectType.FACE: (230, 159, 0),
    ObjectType.LICENSE_PLATE: (86, 180, 233),
    ObjectType.PERSON: (0, 158, 115),
    ObjectType.VEHICLE: (204, 121, 167),
}

_BLACK = (0, 0, 0)
_TINT = 64
#: so many lines of text would fill the image, and the smallest letters that can be read, in pixels
_LINES, _LEAST_FONT = 32, 12
#: makes letters darker, whose edges are smooth
_GAIN = 1.6

_Pixels = TypeVar("_Pixels", NDArray[np.uint8], NDArray[np.uint16], NDArray[Any])


@dataclass(frozen=True, slots=True)
class Stroke:
    """One colour for a part of an image.

    Attributes:
        x, y: left and top of the part in pixels.
        alpha: (h, w) uint8, 255 = only the colour, 0 = not changed. The part lies inside the image.
        rgb: the colour, 0..255.
    """

    x: int
    y: int
    alpha: NDArray[np.uint8]
    rgb: tuple[int, int, int]


def draw(pixels: _Pixels, detections: Detections, regions: Sequence[RedactionRegion], *, scores: bool) -> _Pixels:
    """Draw boxes, and tint what is redacted.

    Args:
        pixels: (h, w), (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16. Not changed.
        detections: the boxes.
        regions: what is redacted.
        scores: write type and score at each box where there is room. No label covers another: the higher score wins.

    Returns:
        A copy of the image.
    """
    out: _Pixels = np.array(pixels, order="C")
    for stroke in strokes(out.shape[:2], detections, regions, scores=scores):
        height, width = stroke.alpha.shape
        crop = out[stroke.y : stroke.y + height, stroke.x : stroke.x + width]
        plain = np.empty_like(crop)
        plain[...] = _ink(stroke.rgb, out)
        blend(crop, plain, stroke.alpha)
    return out


def strokes(
    size_hw: tuple[int, int], detections: Detections, regions: Sequence[RedactionRegion], *, scores: bool
) -> Iterator[Stroke]:
    """Make the strokes of a drawing, in the order in which they are drawn.

    Args:
        size_hw: height and width of the image in pixels.
        detections: the boxes.
        regions: what is redacted.
        scores: write type and score at each box.
    """
    line = max(round(min(size_hw) / 400), 1)
    for region in regions:
        yield Stroke(region.x, region.y, _outline(region.alpha, line), COLOURS[region.object_type])
    for row in range(len(detections)):
        object_type = detections.object_type(row)
        rgb = COLOURS[object_type]
        x1, y1, x2, y2 = _whole(detections.boxes[row], size_hw)
        for down, across in _frame(x1, y1, x2, y2, line):
            if down.start < down.stop and across.start < across.stop:
                full = np.full((down.stop - down.start, across.stop - across.start), 255, np.uint8)
                yield Stroke(across.start, down.start, full, rgb)
    if scores:
        yield from _labels(detections, size_hw)


def _ink(rgb: tuple[int, int, int], pixels: NDArray[Any]) -> NDArray[Any]:
    """The values of a colour in the layout of an image."""
    red, green, blue = rgb
    if pixels.ndim == 2:
        values = [round(0.299 * red + 0.587 * green + 0.114 * blue)]
    elif pixels.shape[2] == 4:
        values = [255 - red, 255 - green, 255 - blue, 0]
    else:
        values = [red, green, blue]
    return np.asarray(np.array(values) * (np.iinfo(pixels.dtype).max // 255), pixels.dtype)


def _whole(box: NDArray[np.float32], size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box in whole pixels inside the image."""
    height, width = size_hw
    x1, y1, x2, y2 = (int(side) for side in np.clip(np.rint(box), 0, (width, height, width, height)))
    return x1, y1, x2, y2


def _frame(x1: int, y1: int, x2: int, y2: int, line: int) -> list[tuple[slice, slice]]:
    """The four strips along the inside of a box."""
    across, down = slice(x1, x2), slice(y1, y2)
    top, bottom = slice(y1, min(y1 + line, y2)), slice(max(y2 - line, y1), y2)
    left, right = slice(x1, min(x1 + line, x2)), slice(max(x2 - line, x1), x2)
    return [(top, across), (bottom, across), (down, left), (down, right)]


def _outline(alpha: NDArray[np.uint8], line: int) -> NDArray[np.uint8]:
    """A tint wherever alpha is not 0, and full strength along the outline."""
    covered = (alpha > 0).astype(np.uint8)
    core = cv2.erode(
        covered, np.ones((2 * line + 1, 2 * line + 1), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(core * np.uint8(_TINT) + (covered - core) * np.uint8(255), np.uint8)


def _labels(detections: Detections, size_hw: tuple[int, int]) -> Iterator[Stroke]:
    """Type and score of each object on a coloured label at its box, the highest score first.

    A label that would cover another one is left out: where there are many objects, nobody could read either.
    """
    taken: list[tuple[int, int, int, int]] = []
    font_px = max(round(min(size_hw) / _LINES), _LEAST_FONT)
    for row in np.argsort(-detections.scores, kind="stable"):
        object_type = detections.object_type(int(row))
        letters = _letters(f"{object_type.words} {detections.scores[row]:.2f}", font_px)
        box = _whole(detections.boxes[row], size_hw)
        for left, top in _label_places(box, letters.shape, size_hw):
            place = (left, top, left + letters.shape[1], top + letters.shape[0])
            if not any(_overlap(place, other) for other in taken):
                taken.append(place)
                yield Stroke(left, top, np.full_like(letters, 255), COLOURS[object_type])
                yield Stroke(left, top, letters, _BLACK)
                break


def _label_places(
    box: tuple[int, int, int, int], label_hw: tuple[int, ...], size_hw: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Left and top of the places for a label that lie in the image: above the box, inside it, and below it."""
    x1, y1, x2, y2 = box
    height, width = label_hw
    for left in (x1, x2 - width):
        for top in (y1 - height, y1, y2):
            inside_left = max(min(left, size_hw[1] - width), 0)
            if 0 <= top <= size_hw[0] - height and width <= size_hw[1]:
                yield inside_left, top


def _overlap(place: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return place[0] < other[2] and other[0] < place[2] and place[1] < other[3] and other[1] < place[3]


@functools.lru_cache(maxsize=512)
def _letters(text: str, font_px: int) -> NDArray[np.uint8]:
    """(h, w) uint8, the text with a small margin: 255 where it is black."""
    font = ImageFont.load_default(size=font_px)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (font_px, font_px // 4)
    space = max(font_px // 5, 1)
    canvas = Image.new("L", (round(right - left) + 2 * space, ascent + descent + space))
    ImageDraw.Draw(canvas).text((space - left, space // 2), text, fill=255, font=font)
    # thin strokes of small letters would stay pale
    return np.asarray(np.minimum(np.asarray(canvas, np.float32) * _GAIN, 255), np.uint8)
