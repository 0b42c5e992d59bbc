"""Regions: boxes that the caller gives, in pixels of the upright image."""

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
    """A rectangle that the caller gave, in pixels of the upright image, right and bottom exclusive."""

    x: int
    y: int
    width: int
    height: int


def parse_ignores(name: str, value: object) -> tuple[Region, ...]:
    allowed = (
        'a JSON list of {"topLeftX", "topLeftY", "width", "height"} in whole pixels, '
        "corners from 0 up, width and height from 1 up"
    )
    if isinstance(value, Sequence) and all(isinstance(each, Region) for each in value):
        return tuple(value)
    try:
        rows: Any = json.loads(value) if isinstance(value, str) else value
        regions = tuple(Region(*(pixels(row[side]) for side in SIDES)) for row in rows)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidParameter(name, value, allowed) from None
    if any(r.x < 0 or r.y < 0 or r.width < 1 or r.height < 1 for r in regions):
        raise InvalidParameter(name, value, allowed)
    return regions
