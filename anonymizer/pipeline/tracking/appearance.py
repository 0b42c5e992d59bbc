"""Whether a detection shows the object of the track that it was given to: does it fit the motion, or the looks?"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from anonymizer.pipeline.tracking.boxes import Box, centre_shift, contains, ious
from anonymizer.pipeline.tracking.optical_flow import Grey
from anonymizer.pipeline.tracking.state import MATCH_IOU, Frame, Track

__all__ = ["fits", "leapt", "shows_object", "similarity"]

#: share of a detection that has to lie in a predicted box, so that it may be a part of that object
_PART = 0.8
#: correlation from which a detection looks like the object of a track, wherever it is
_MIN_SIMILARITY = 0.5

#: A small object leaps if it moves further than its size between two frames: in long sides of the picture per second,
#: and at most. Its box has a shorter side of at most so many pixels of the small image; larger ones are searched for.
_LEAP_PER_S, _MAX_LEAP, _MAX_LEAPING_SIDE = 0.3, 0.15, 14.0
#: the largest ratio of the sides of its boxes
_MAX_GROWTH = 1.5

#: width and height in pixels to which both boxes are scaled, and by how much the second may be off
_SIZE, _SLACK = 24, 4
#: pixels of the small image: with a shorter side, there is nothing to compare
_MIN_SIDE = 4
#: standard deviation in grey values of a patch without content
_FEATURELESS = 2.0


def fits(box: Box, predicted: Box) -> bool:
    """Whether a detection may be the object that was predicted in a place, or a part of it."""
    return bool(ious(box, predicted[None])[0] >= MATCH_IOU) or contains(predicted, box, _PART)


def shows_object(track: Track, box: Box, frame: Frame, frames: Sequence[Frame], scale_xy: tuple[float, float]) -> bool:
    """Whether a detection fits the motion of a predicted track, or else its looks.

    Args:
        track: has a prediction for the frame; without a confirmed one, everything fits.
        box: (4,) float32, of the detection, in pixels of the frame.
        frame: that of the detection.
        frames: the last frames in order, up to this one.
        scale_xy: size of the small image divided by the size of the frame, along x and y.

    Returns:
        False if the object was observed in the frame before, and the detection is somewhere else and looks different.
    """
    # a prediction that nothing confirmed proves nothing, and a new track would lose the velocity
    if track.motion is None or not track.motion.confirmed or fits(box, track.motion.box):
        return True
    # a track that was lost for a while keeps its velocity; its place is covered as well if it is far away
    if track.last.frame_number + 1 < frame.number or len(frames) < 2:
        return True
    scale = np.tile(np.array(scale_xy, np.float32), 2)
    alike = similarity(frames[-2].image, track.last.box * scale, frame.image, box * scale)
    return alike is None or alike >= _MIN_SIMILARITY


def leapt(box: Box, tracks: Sequence[Track], frame: Frame, scale_xy: tuple[float, float]) -> Track | None:
    """Find the track of a small object that moved further than its size, so that no boxes of it overlap.

    Args:
        box: (4,) float32, of a detection that no track fits, in pixels of the frame.
        tracks: those of its type that have a prediction and no detection in the frame.
        frame: that of the detection.
        scale_xy: size of the small image divided by the size of the frame, along x and y.

    Returns:
        The track that was predicted near enough; None if there is none, or if another track or detection is near, too.
    """
    sides = (box[2:] - box[:2]) * scale_xy
    if sides.min() > _MAX_LEAPING_SIDE:
        return None
    near = []
    for track in tracks:
        if track.motion is None:
            continue
        other = track.last.box[2:] - track.last.box[:2]
        ratio = np.maximum(box[2:] - box[:2], other) / np.maximum(np.minimum(box[2:] - box[:2], other), 1e-6)
        reach = min(_LEAP_PER_S * (frame.time_s - track.last.time_s), _MAX_LEAP) * max(frame.image.shape)
        away = float(np.linalg.norm(centre_shift(track.motion.box, box) * scale_xy))
        # in a crowd, it may be anybody
        others = frame.detections.boxes[frame.above_threshold & (frame.detections.types == track.object_type)]
        around = [np.linalg.norm(centre_shift(track.motion.box, each) * scale_xy) <= reach for each in others]
        if ratio.max() <= _MAX_GROWTH and away <= reach and sum(around) <= 1:
            near.append((away, track))
    near.sort(key=lambda each: each[0])
    return near[0][1] if near and (len(near) == 1 or 2 * near[0][0] <= near[1][0]) else None


def similarity(before: Grey, box: Box, after: Grey, other: Box) -> float | None:
    """Compare what two boxes show, by normalised cross-correlation. Brightness and contrast do not matter.

    Args:
        before: (h, w) uint8 grey image.
        box: (4,) float32, in pixels of that image.
        after: (h, w) uint8 grey image of the same size.
        other: (4,) float32, in pixels of the second image.

    Returns:
        The correlation where both fit best, -1..1. None if one of them is too small, or shows nothing.
    """
    one, two = _patch(before, box), _patch(after, other)
    if one is None or two is None:
        return None
    inner = one[_SLACK:-_SLACK, _SLACK:-_SLACK]
    if inner.std() < _FEATURELESS or two.std() < _FEATURELESS:
        return None
    return float(cv2.matchTemplate(two, inner, cv2.TM_CCOEFF_NORMED).max())


def _patch(image: Grey, box: Box) -> Grey | None:
    """The part of an image in a box, scaled to a square; None if too little of it is inside."""
    height, width = image.shape
    x1, y1, x2, y2 = (round(float(side)) for side in np.clip(box, 0, [width, height, width, height]))
    if x2 - x1 < _MIN_SIDE or y2 - y1 < _MIN_SIDE:
        return None
    return np.asarray(cv2.resize(image[y1:y2, x1:x2], (_SIZE, _SIZE), interpolation=cv2.INTER_AREA), np.uint8)
