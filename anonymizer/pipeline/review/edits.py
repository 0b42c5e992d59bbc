"""What a review asks for: the JSON body of `POST /v1/task/{id}/review`, validated in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from anonymizer.pipeline.detected_object import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import choice, kernel_size, share
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape, parse_regions
from anonymizer.pipeline.options.options import Method

__all__ = ["AddedObject", "Change", "Follow", "KeyFrame", "ObjectRef", "ReviewEdits", "ReviewRequest", "parse_review"]

#: the most objects in one list of a review: more are a mistake or an attack
MOST_EDITS = 10_000
MOST_COMMENT = 2000
_NAMES = ("add", "take", "drop", "visible", "change", "thresholds", "approve", "restore", "comment", "base")
_ADDED = (
    'a list of objects such as {"type": "face", "box": [10, 20, 60, 90]}, each with one shape, or for videos with '
    "keyframes of one shape each, and optionally from, to, follow, method and kernel_size"
)
_REFERENCES = 'a list of objects such as {"id": 3} or {"track_id": 7}, with ids of the metadata'
_CANDIDATES = 'a list of candidates such as {"candidate": 3}, with ids of /v1/file/{id}/candidates'
_SHAPES = tuple(shape.value for shape in Shape)
_T = TypeVar("_T")


class Follow(StrEnum):
    """In which direction of time the tracker follows a region from its key frame."""

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Change:
    """How one object is redacted, where that differs from the options.

    Attributes:
        method: blur, pixelate or blacken; None: that of the options.
        kernel_size: a share of the object up to 1, pixels above 1; None: that of the options.
    """

    method: Method | None = None
    kernel_size: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The change as a review names it."""
        values = {"method": self.method and self.method.value, "kernel_size": self.kernel_size}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], name: str = "change") -> Change:
        """Read a change from an object that may have other names too.

        Args:
            row: the object.
            name: of the parameter, for the error.

        Raises:
            InvalidParameter: a value is not allowed.
        """
        method = None if row.get("method") is None else Method(choice(Method)(f"{name}.method", row["method"]))
        if method is Method.DETECT:
            raise InvalidParameter(f"{name}.method", method, "blur, pixelate or blacken")
        size = row.get("kernel_size")
        return cls(method, None if size is None else kernel_size(f"{name}.kernel_size", size))


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """Where an added object is at one time.

    Attributes:
        time_s: in seconds; 0 in an image.
        region: its shape.
    """

    time_s: float
    region: DrawnRegion


@dataclass(frozen=True, slots=True)
class AddedObject:
    """An object that a person added.

    Attributes:
        keys: where it is, by rising time; one that is not a key frame in images and for the whole span.
        start_s, end_s: in videos, the first and the last second in which it is redacted.
        follow: whether the tracker follows it from its one key frame.
        change: how it is redacted.
        source: who added it, a `Source`.
    """

    keys: tuple[KeyFrame, ...]
    start_s: float = 0.0
    end_s: float = math.inf
    follow: Follow | None = None
    change: Change = Change()
    source: str = "caller"

    @property
    def type(self) -> ObjectType:
        """Its object type."""
        return self.keys[0].region.type

    def as_json(self) -> dict[str, Any]:
        """The object as `from_json` reads it."""
        row: dict[str, Any] = {"type": self.type.value}
        if len(self.keys) == 1 and self.follow is None:
            row |= _shape_of(self.keys[0].region)
        else:
            row["keyframes"] = [{"time": key.time_s} | _shape_of(key.region) for key in self.keys]
        if self.start_s > 0:
            row["from"] = self.start_s
        if self.end_s < math.inf:
            row["to"] = self.end_s
        row |= {"follow": self.follow.value} if self.follow else {}
        row |= {} if self.source == "caller" else {"source": self.source}
        return row | self.change.as_json()

    @classmethod
    def from_json(cls, row: Mapping[str, Any], *, source: str = "caller") -> AddedObject:
        """Read an object of `add`.

        Raises:
            InvalidParameter: a value is not allowed.
        """
        change = Change.from_json(row, "add")
        follow = None if row.get("follow") is None else Follow(choice(Follow)("add.follow", row["follow"]))
        plain = {name: value for name, value in row.items() if name not in _EXTRAS and value is not None}
        frames = row.get("keyframes")
        if frames is None:
            region = _region(plain)
            keys: tuple[KeyFrame, ...] = (KeyFrame(region.start_s, region),)
            start_s, end_s = region.start_s, region.end_s
        else:
            keys = tuple(_key_frame(row.get("type"), frame) for frame in _rows("add.keyframes", frames, _ADDED))
            keys = tuple(sorted(keys, key=lambda key: key.time_s))
            start_s, end_s = _span(plain, keys, follow)
        if follow is not None:
            if len(keys) != 1:
                raise InvalidParameter("add.follow", follow, f"given with one key frame, not {len(keys)}")
            start_s, end_s = (0.0, math.inf) if frames is None else (start_s, end_s)
        return cls(keys, start_s, end_s, follow, change, source)


#: what an object of `add` has besides a region of the parameter `regions`
_EXTRAS = ("method", "kernel_size", "keyframes", "follow", "source")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object of the version that is reviewed: by its id in the metadata of an image, by its track, or as candidate.

    Attributes:
        number: the id.
        is_track: whether it is the id of a track.
        is_candidate: whether it is the id of a candidate.
    """

    number: int
    is_track: bool
    is_candidate: bool = False

    def __str__(self) -> str:
        return f"{'candidate' if self.is_candidate else 'track_id' if self.is_track else 'id'} {self.number}"


@dataclass(frozen=True, slots=True)
class ReviewEdits:
    """What a review changes in the result.

    Attributes:
        add: objects to add.
        take: candidates that are redacted, whatever their scores.
        drop: false detections: they go from the result, the masks and the metadata.
        visible: objects that stay in the metadata and are not redacted.
        change: method and strength of single objects.
        thresholds: by object type, the least score of what is redacted.
    """

    add: tuple[AddedObject, ...] = ()
    take: tuple[ObjectRef, ...] = ()
    drop: tuple[ObjectRef, ...] = ()
    visible: tuple[ObjectRef, ...] = ()
    change: tuple[tuple[ObjectRef, Change], ...] = ()
    thresholds: Mapping[ObjectType, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.add or self.take or self.drop or self.visible or self.change or self.thresholds)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects are added, taken of the candidates, dropped, left visible and changed."""
        return {
            "added": len(self.add), "taken": len(self.take), "dropped": len(self.drop),
            "visible": len(self.visible), "changed": len(self.change),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """A whole review.

    Attributes:
        edits: what is to be rendered.
        approve: whether the version is approved; None: that stays as it is.
        restore: the number of an earlier version that is to be served again.
        comment: a text for people.
        base: the version that the ids are of; None: the current one.
    """

    edits: ReviewEdits = ReviewEdits()
    approve: bool | None = None
    restore: int | None = None
    comment: str = ""
    base: int | None = None


def parse_review(data: object) -> ReviewRequest:
    """Read the body of a review.

    Args:
        data: JSON values.

    Raises:
        InvalidParameter: a value is not allowed.
    """
    allowed = f"an object with some of {', '.join(_NAMES)}"
    if not isinstance(data, Mapping):
        raise InvalidParameter("body", data, allowed)
    for name in data:
        if name not in _NAMES:
            raise InvalidParameter("body", name, allowed)
    edits = ReviewEdits(
        add=tuple(map(_added, _rows("add", data.get("add"), _ADDED))),
        take=tuple(map(_candidate, _rows("take", data.get("take"), _CANDIDATES))),
        drop=tuple(_reference("drop", row) for row in _rows("drop", data.get("drop"), _REFERENCES)),
        visible=tuple(_reference("visible", row) for row in _rows("visible", data.get("visible"), _REFERENCES)),
        change=tuple(map(_changed, _rows("change", data.get("change"), _REFERENCES))),
        thresholds=_thresholds(data.get("thresholds")),
    )
    restore = _whole("restore", data.get("restore"), "the number of an earlier version, from 1 up")
    if restore is not None and edits:
        raise InvalidParameter("restore", restore, "given without add, drop, take, visible, change and thresholds")
    request = ReviewRequest(
        edits, _flag(data.get("approve")), restore, _comment(data.get("comment")),
        _whole("base", data.get("base"), "the number of a version, from 1 up"),
    )  # fmt: skip
    if not edits and request.approve is None and restore is None and not request.comment:
        raise InvalidParameter("body", "{}", f"{allowed}, of which one is not empty")
    return request


def _rows(name: str, value: object, allowed: str) -> Sequence[Mapping[str, Any]]:
    if value is None:
        return ()
    is_list = isinstance(value, list) and len(value) <= MOST_EDITS and all(isinstance(row, Mapping) for row in value)
    if not is_list:
        raise InvalidParameter(name, value, allowed)
    return value  # type: ignore[return-value]


def _added(row: Mapping[str, Any]) -> AddedObject:
    if "source" in row:
        raise InvalidParameter("add", row, _ADDED)
    return AddedObject.from_json(row)


def _reference(name: str, row: Mapping[str, Any], others: Sequence[str] = ()) -> ObjectRef:
    given = [key for key in ("id", "track_id") if key in row]
    number = row.get(given[0]) if len(given) == 1 else None
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**53
    if not is_number or row.keys() - {*given, *others}:
        raise InvalidParameter(name, dict(row), _REFERENCES)
    return ObjectRef(int(number or 0), given[0] == "track_id")


def _candidate(row: Mapping[str, Any]) -> ObjectRef:
    number = row.get("candidate")
    if (
        row.keys() != {"candidate"}
        or isinstance(number, bool)
        or not isinstance(number, int)
        or not 0 <= number < 2**53
    ):
        raise InvalidParameter("take", dict(row), _CANDIDATES)
    return ObjectRef(number, is_track=False, is_candidate=True)


def _changed(row: Mapping[str, Any]) -> tuple[ObjectRef, Change]:
    change = Change.from_json(row)
    if change == Change():
        raise InvalidParameter("change", dict(row), "an object with id or track_id, and method, kernel_size or both")
    return _reference("change", row, ("method", "kernel_size")), change


def _thresholds(value: object) -> dict[ObjectType, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or value.keys() - set(ObjectType):
        raise InvalidParameter("thresholds", value, f"an object with scores by type: {', '.join(ObjectType)}")
    return {ObjectType(name): share(f"thresholds.{name}", score) for name, score in value.items()}


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise InvalidParameter("approve", value, "true or false")
    return value


def _whole(name: str, value: object, allowed: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise InvalidParameter(name, value, allowed)
    return value


def _comment(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MOST_COMMENT or "\0" in value:
        raise InvalidParameter("comment", value, f"a text of at most {MOST_COMMENT} characters")
    return value.strip()


def _region(row: Mapping[str, Any]) -> DrawnRegion:
    (region,) = parse_regions("add", [dict(row)])
    return region


def _key_frame(kind: object, row: Mapping[str, Any]) -> KeyFrame:
    if row.keys() - {"time", *_SHAPES}:
        raise InvalidParameter("add.keyframes", dict(row), 'objects such as {"time": 1.5, "box": [10, 20, 60, 90]}')
    shape = {name: value for name, value in row.items() if name != "time"}
    return KeyFrame(_seconds("add.keyframes.time", row.get("time")), _region({"type": kind} | shape))


def _span(row: Mapping[str, Any], keys: tuple[KeyFrame, ...], follow: Follow | None) -> tuple[float, float]:
    """From when to when an object with key frames is redacted."""
    if not keys or row.keys() - {"type", "from", "to"}:
        raise InvalidParameter("add", dict(row), _ADDED)
    forms = {(key.region.shape, len(key.region.points)) for key in keys}
    if len(forms) > 1 or len({key.time_s for key in keys}) < len(keys):
        raise InvalidParameter("add.keyframes", len(keys), "frames of different times, with shapes of one kind")
    first, last = (0.0, math.inf) if follow else (keys[0].time_s, keys[-1].time_s)
    start_s = _seconds("add.from", row["from"]) if "from" in row else first
    end_s = _seconds("add.to", row["to"]) if "to" in row else last
    if start_s > end_s:
        raise InvalidParameter("add.to", end_s, f"a time in seconds that is not before {start_s}")
    return start_s, end_s


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e6:
        raise InvalidParameter(name, value, "a time in seconds, from 0 up")
    return float(value)


def _shape_of(region: DrawnRegion) -> dict[str, Any]:
    return {name: value for name, value in region.as_json().items() if name in _SHAPES}
