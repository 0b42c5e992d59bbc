"""How an image is cut into views for the detectors: `whole`, `auto`, `thorough`, `pano:WIDTH` or tiles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import json_number, pixels, whole_number, within

__all__ = ["Auto", "Format", "Pano", "Thorough", "Tiles", "Whole", "parse_format"]


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole image, at the detectors' own scales."""

    def __str__(self) -> str:
        return "whole"


@dataclass(frozen=True, slots=True)
class Auto:
    """The whole image, then a second look at the image's own scale, or up to twice that, where it matters.

    It matters at the heads of persons, the license plates of vehicles, and wherever the first look was unsure.
    """

    def __str__(self) -> str:
        return "auto"


@dataclass(frozen=True, slots=True)
class Thorough:
    """The whole image and, if it is larger than the scales of the detectors, tiles that cover it at its own scale."""

    def __str__(self) -> str:
        return "thorough"


@dataclass(frozen=True, slots=True)
class Pano:
    """An equirectangular panorama: scaled to a width in pixels and cut into tiles, some of them across its seam.

    Attributes:
        width: 512 to 32768 pixels.
    """

    width: int

    def __str__(self) -> str:
        return f"pano:{self.width}"


@dataclass(frozen=True, slots=True)
class Tiles:
    """The whole image, and columns x rows tiles that overlap.

    Attributes:
        columns, rows: 1 to 32.
        overlap_x, overlap_y: share of a tile that it has in common with the next tile, 0..0.9.
    """

    columns: int
    rows: int
    overlap_x: float
    overlap_y: float

    def __str__(self) -> str:
        return json.dumps({"number": [self.columns, self.rows], "overlap": [self.overlap_x, self.overlap_y]})


Format = Whole | Auto | Thorough | Pano | Tiles

#: the formats without parameters, by their names
_NAMED: dict[str, Format] = {str(form): form for form in (Whole(), Auto(), Thorough())}


def parse_format(name: str, value: object) -> Format:
    """Read a format from its text; `str` of a format gives the text back.

    Args:
        name: the parameter, for the error.
        value: a format, or `whole`, `auto`, `thorough`, `pano:WIDTH` or JSON such as
            `{"number": [3, 2], "overlap": [0.2, 0.2]}`.

    Raises:
        InvalidParameter: the value is none of these.
    """
    if isinstance(value, Format):
        return value
    text = str(value).strip()
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    allowed = (
        'whole, auto, thorough, pano:WIDTH (512 to 32768) or {"number": [columns, rows], "overlap": [x, y]} '
        "(1 to 32 tiles each way, overlap from 0 to 0.9)"
    )
    try:
        if text.lower().startswith("pano:"):
            return Pano(cast("int", whole_number(512, 32768)(name, text[5:])))
        row = json.loads(text)
        columns, rows = (within(pixels(n), 1, 32) for n in row["number"])
        overlap_x, overlap_y = (within(json_number(part), 0.0, 0.9) for part in row.get("overlap", (0.2, 0.2)))
        return Tiles(columns, rows, overlap_x, overlap_y)
    except (InvalidParameter, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidParameter(name, value, allowed) from None
