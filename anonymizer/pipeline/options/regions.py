"""Regions: rectangles that the caller gives, in pixels of the upright image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import pixels

__all__ = ["SIDES", "Region", "parse_ignores"]

#: names of the sides in the JSON of a region
SIDES = ("topLeftX", "topLeftY", "width", "height")


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in which no pixel is changed, in pixels of the upright image.

    Attributes:
        x, y: left and top.
        width, height: at least 1.
    """

    x: int
    y: int
    width: int
    height: int

    def as_json(self) -> dict[str, int]:
        """The region as `parse_ignores` reads it."""
        return dict(zip(SIDES, (self.x, self.y, self.width, self.height), strict=True))


def parse_ignores(name: str, value: object) -> tuple[Region, ...]:
    """Read the rectangles of the parameter `ignores`.

    Args:
        name: the parameter, for the error.
        value: regions, or a list of objects with the keys `SIDES`, or the JSON text of such a list.

    Raises:
        InvalidParameter: the value is none of these.
    """
    allowed = (
        'a JSON list of {"topLeftX", "topLeftY", "width", "height"} in whole pixels, '
        "corners from 0 up, width and height from 1 up"
    )
    if isinstance(value, Sequence) and all(isinstance(region, Region) for region in value):
        return tuple(value)
    try:
        rows: Any = json.loads(value) if isinstance(value, str) else value
        regions = tuple(Region(*(pixels(row[side]) for side in SIDES)) for row in rows)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidParameter(name, value, allowed) from None
    if any(r.x < 0 or r.y < 0 or r.width < 1 or r.height < 1 for r in regions):
        raise InvalidParameter(name, value, allowed)
    return regions
