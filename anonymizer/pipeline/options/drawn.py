"""The parameter `regions`: boxes, polygons and ellipses that the caller wants redacted besides what is found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from anonymizer.pipeline.detected_object import ObjectType
from anonymizer.pipeline.errors import InvalidParameter

__all__ = ["DRAWN_HELP", "DrawnRegion", "Shape", "parse_regions"]

DRAWN_HELP = (
    "JSON list of your own regions, redacted besides what is found: type, and box, polygon or ellipse in pixels; "
    "for videos from and to in seconds"
)
#: the most regions, and the most corners of a polygon: a request with more is a mistake or an attack
MOST_REGIONS, MOST_CORNERS = 10_000, 10_000
#: the largest coordinate in pixels, and the latest second
_MOST = 1e6
_ALLOWED = (
    'a JSON list such as [{"type": "face", "box": [10, 20, 60, 90]}]. Each region has a type '
    f"({', '.join(ObjectType)}) and one of box [x1, y1, x2, y2], polygon [[x, y], ...] with three corners or more, "
    "and ellipse [x, y, radius x, radius y]. Videos: from and to in seconds"
)


class Shape(StrEnum):
    """The shapes of regions."""

    BOX = "box"
    POLYGON = "polygon"
    ELLIPSE = "ellipse"


@dataclass(frozen=True, slots=True)
class DrawnRegion:
    """A region that the caller wants redacted.

    Attributes:
        type: the object type whose margin, strength and fill are used.
        shape: what `points` mean.
        points: in pixels of the upright image. Box: left top and right bottom, each x, y. Polygon: its corners.
            Ellipse: the centre, then the radii.
        start_s, end_s: in videos, the first and the last second in which it is redacted. Default: all frames.
    """

    type: ObjectType
    shape: Shape
    points: tuple[tuple[float, float], ...]
    start_s: float = 0.0
    end_s: float = math.inf

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box around it: x1, y1, x2, y2 in pixels."""
        if self.shape is Shape.ELLIPSE:
            (x, y), (across, down) = self.points
            return x - across, y - down, x + across, y + down
        columns, rows = zip(*self.points, strict=True)
        return min(columns), min(rows), max(columns), max(rows)

    def is_shown_at(self, time_s: float) -> bool:
        """Whether it is redacted in the frame of this time in seconds."""
        return self.start_s <= time_s <= self.end_s

    def as_json(self) -> dict[str, Any]:
        """The region as `parse_regions` reads it."""
        row: dict[str, Any] = {"type": self.type.value}
        if self.shape is Shape.POLYGON:
            row[self.shape.value] = [list(point) for point in self.points]
        else:
            row[self.shape.value] = [number for point in self.points for number in point]
        if self.start_s > 0:
            row["from"] = self.start_s
        if self.end_s < math.inf:
            row["to"] = self.end_s
        return row


def parse_regions(name: str, value: object) -> tuple[DrawnRegion, ...]:
    """Read the regions of the parameter `regions`.

    Args:
        name: the parameter, for the error.
        value: regions, or a list of objects, or the JSON text of such a list.

    Raises:
        InvalidParameter: the value is none of these, or a region has no area.
    """
    if isinstance(value, Sequence) and all(isinstance(region, DrawnRegion) for region in value):
        return tuple(value)
    try:
        rows: Any = json.loads(value) if isinstance(value, str) else value
        if not isinstance(rows, list | tuple) or len(rows) > MOST_REGIONS:
            raise ValueError(value)
        return tuple(_region(row) for row in rows)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InvalidParameter(name, value, _ALLOWED) from None


def _region(row: Mapping[str, Any]) -> DrawnRegion:
    shapes = [shape for shape in Shape if shape.value in row]
    if len(shapes) != 1 or row.keys() - {"type", "from", "to", shapes[0].value}:
        raise ValueError(row)
    (shape,) = shapes
    region = DrawnRegion(
        ObjectType(row["type"]), shape, _points(shape, row[shape.value]),
        _number(row.get("from", 0.0)), _number(row["to"]) if "to" in row else math.inf,
    )  # fmt: skip
    x1, y1, x2, y2 = region.box
    if not (x1 < x2 and y1 < y2 and 0 <= region.start_s <= region.end_s):
        raise ValueError(row)
    return region


def _points(shape: Shape, values: Any) -> tuple[tuple[float, float], ...]:
    if shape is not Shape.POLYGON:
        x1, y1, x2, y2 = map(_number, values)
        if shape is Shape.ELLIPSE and not (x2 > 0 and y2 > 0):
            raise ValueError(values)
        if shape is Shape.BOX and not (x1 < x2 and y1 < y2):
            raise ValueError(values)
        return (x1, y1), (x2, y2)
    if not 3 <= len(values) <= MOST_CORNERS:
        raise ValueError(values)
    return tuple((_number(x), _number(y)) for x, y in values)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MOST:
        raise ValueError(value)
    return float(value)
