"""Make tracks for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anonymizer.evaluation.datasets.tracks import LabelledTracks, ObjectTrack
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType

__all__ = ["BOX", "FACE", "PERSON", "track", "tracks"]

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON
#: of 100 pixels
BOX = (10.0, 20.0, 20.0, 30.0)


def track(
    frames: Iterable[int],
    object_type: ObjectType = PERSON,
    *,
    id: int = 1,  # noqa: A002
    box: Sequence[float] = BOX,
    filled: Sequence[int] = (),
    ignored: Sequence[int] = (),
) -> ObjectTrack:
    """A track of an object that does not move; `filled` and `ignored` are numbers of frames."""
    numbers = np.array(list(frames), np.int64)
    boxes = np.tile(np.array(box, np.float32), (len(numbers), 1))
    return ObjectTrack(id, object_type, numbers, boxes, np.isin(numbers, filled), np.isin(numbers, ignored))


def tracks(
    *members: ObjectTrack, times_s: Sequence[float] = (), size_hw: tuple[int, int] | None = None
) -> LabelledTracks:
    """The tracks of a video, in which all their types are fully labelled."""
    known = {member.object_type for member in members}
    types = tuple(object_type for object_type in OBJECT_TYPES if object_type in known)
    return LabelledTracks(members, types, np.array(times_s, float), size_hw)
