"""The objects of a video after a review: tracks that go, stay visible, or are redacted in another way, and new ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, Mask, ObjectType, Source
from anonymizer.pipeline.options.drawn import DrawnRegion, Shape
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.drawn import drawn_objects
from anonymizer.pipeline.review.edits import AddedObject, KeyFrame
from anonymizer.pipeline.review.selection import Selection
from anonymizer.pipeline.review.state import ReviewState

__all__ = ["FollowedBoxes", "TrackReview", "moved_region", "region_at", "same_objects"]

#: by number of the frame, where an object was followed to: (4,) float32 in pixels of the upright frame
FollowedBoxes = Mapping[int, NDArray[np.float32]]
#: a time that is so near counts as the same, in seconds
_TOLERANCE_S = 1e-3


@dataclass(frozen=True, slots=True)
class TrackReview:
    """What reviews changed in one video.

    Attributes:
        state: of the version.
        options: of the request, with the thresholds of the version.
        first_id: the track id of the first object of `state.added`; the others get the next ones.
        best_scores: by track id, the highest score of the track.
        followed: by number of an added object, where the tracker followed it to.
    """

    state: ReviewState
    options: Options
    first_id: int
    best_scores: Mapping[int, float] = field(default_factory=dict)
    followed: Mapping[int, FollowedBoxes] = field(default_factory=dict)

    @property
    def types(self) -> set[ObjectType]:
        """The types of objects that persons added."""
        return {each.type for each in self.state.added}

    def key(self, track_id: int) -> str:
        """Return the key of a track, see `ReviewState`. Objects that were added are tracks, too."""
        return f"a{track_id - self.first_id}" if track_id >= self.first_id else f"t{track_id}"

    def apply(
        self, kept: Detections, number: int, time_s: float, size_hw: tuple[int, int], taken: Detections | None = None
    ) -> Detections:
        """Return the objects of a frame.

        Args:
            kept: what detectors, tracker and the request's own regions gave.
            number: of the frame.
            time_s: when it is shown, in seconds.
            size_hw: height and width of the upright frame in pixels.
            taken: of the candidates that the version takes. Default: none.
        """
        stays = [self._stays(kept, row) for row in range(len(kept))]
        parts = [kept if all(stays) else kept[np.array(stays, np.bool_)]]
        if taken is not None:
            parts.append(taken)
        for index, added in enumerate(self.state.added):
            if f"a{index}" in self.state.dropped:
                continue
            region = self._place(index, added, number, time_s)
            placed = Detections.empty() if region is None else drawn_objects([region], size_hw)
            if len(placed):
                source, track_id = np.array([added.source]), np.array([self.first_id + index], np.int64)
                parts.append(replace(placed, sources=source, track_ids=track_id))
        return Detections.merge(parts)

    def spared(self, kept: Detections, number: int, time_s: float, size_hw: tuple[int, int]) -> Detections:
        """Return what persons decided not to redact in a frame.

        Args:
            kept: what detectors and tracker gave, and candidates that were dropped or left visible.
            number: of the frame.
            time_s: when it is shown, in seconds.
            size_hw: height and width of the upright frame in pixels.
        """
        keys = [self.key(int(track_id)) if track_id >= 0 else "" for track_id in kept.track_ids]
        rows = [row for row, key in enumerate(keys) if key in self.state.visible or not self._stays(kept, row)]
        regions = [
            region
            for index, added in enumerate(self.state.added)
            if self.state.spares(index) and (region := self._place(index, added, number, time_s)) is not None
        ]
        return Detections.merge([kept[rows], drawn_objects(regions, size_hw)])

    def select(self, objects: Detections) -> Selection:
        """Return how the objects of a frame are redacted.

        Args:
            objects: as `apply` gave them, with masks.
        """
        keys = tuple(self.key(int(track_id)) if track_id >= 0 else "" for track_id in objects.track_ids)
        return Selection(
            objects,
            keys,
            np.array([key in self.state.visible for key in keys], np.bool_),
            tuple(self.state.change_of(key) if key else None for key in keys),
        )

    def _stays(self, kept: Detections, row: int) -> bool:
        track_id = int(kept.track_ids[row])
        if track_id >= 0 and self.key(track_id) in self.state.dropped:
            return False
        if kept.sources[row] in (Source.CALLER.value, Source.VERIFICATION.value):
            return True
        threshold = self.state.thresholds.get(kept.object_type(row))
        best = self.best_scores.get(track_id, float(kept.scores[row])) if track_id >= 0 else float(kept.scores[row])
        return threshold is None or best >= threshold

    def _place(self, index: int, added: AddedObject, number: int, time_s: float) -> DrawnRegion | None:
        if not added.start_s - _TOLERANCE_S <= time_s <= added.end_s + _TOLERANCE_S:
            return None
        if added.follow is None:
            return region_at(added.keys, time_s)
        box = self.followed.get(index, {}).get(number)
        return None if box is None else moved_region(added.keys[0].region, box)


def region_at(keys: Sequence[KeyFrame], time_s: float) -> DrawnRegion:
    """Interpolate a region linearly between key frames.

    Args:
        keys: by rising time, with shapes of one kind.
        time_s: in seconds; before the first and after the last key frame, the region stays where it is.

    Returns:
        A region that is shown at all times.
    """
    after = next((index for index, key in enumerate(keys) if key.time_s >= time_s), len(keys))
    if after in (0, len(keys)):
        return _always(keys[min(after, len(keys) - 1)].region)
    first, second = keys[after - 1], keys[after]
    share = (time_s - first.time_s) / (second.time_s - first.time_s)
    points = np.array(first.region.points) * (1 - share) + np.array(second.region.points) * share
    return replace(_always(first.region), points=tuple((float(x), float(y)) for x, y in points))


def moved_region(region: DrawnRegion, box: NDArray[np.float32]) -> DrawnRegion:
    """Move and scale a region so that another box is around it.

    Args:
        region: any shape.
        box: (4,) float32 x1, y1, x2, y2 in pixels.

    Returns:
        A region that is shown at all times.
    """
    x1, y1, x2, y2 = region.box
    across, down = float(box[2] - box[0]) / (x2 - x1), float(box[3] - box[1]) / (y2 - y1)

    def moved(x: float, y: float) -> tuple[float, float]:
        return float(box[0]) + (x - x1) * across, float(box[1]) + (y - y1) * down

    points = [moved(x, y) for x, y in region.points]
    if region.shape is Shape.ELLIPSE:
        radius_x, radius_y = region.points[1]
        points = [moved(*region.points[0]), (radius_x * across, radius_y * down)]
    return replace(_always(region), points=tuple(points))


def _always(region: DrawnRegion) -> DrawnRegion:
    return replace(region, start_s=0.0, end_s=math.inf)


def same_objects(one: Selection, other: Selection) -> bool:
    """Whether two versions of a frame have the same objects, redacted in the same way."""
    first, second = one.objects, other.objects
    if len(first) != len(second) or one.keys != other.keys or one.changes != other.changes:
        return False
    arrays = ("boxes", "types", "track_ids", "sources", "scores")
    return (
        bool((one.is_visible == other.is_visible).all())
        and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays)
        and all(_same_mask(*pair) for pair in zip(first.masks, second.masks, strict=True))
    )


def _same_mask(one: Mask | None, other: Mask | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.x, one.y) == (other.x, other.y) and np.array_equal(one.pixels, other.pixels)
