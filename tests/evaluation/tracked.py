"""Tracks made in the test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from anonymizer.evaluation.datasets.tracks import LabelledTracks, Track
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
) -> Track:
    """An object that stands still; `filled` and `ignored` are numbers of frames."""
    numbers = np.array(list(frames), np.int64)
    boxes = np.tile(np.array(box, np.float32), (len(numbers), 1))
    return Track(id, object_type, numbers, boxes, np.isin(numbers, filled), np.isin(numbers, ignored))


def tracks(*each: Track, times_s: Sequence[float] = (), size_hw: tuple[int, int] | None = None) -> LabelledTracks:
    """Of types that are labelled completely."""
    known = {one.object_type for one in each}
    return LabelledTracks(each, tuple(t for t in OBJECT_TYPES if t in known), np.array(times_s, float), size_hw)
