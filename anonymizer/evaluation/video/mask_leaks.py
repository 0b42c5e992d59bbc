"""Known tracks held against the masks of a video that was anonymised, frame by frame.

An object's pixels are the ellipse in a face's box and the whole box of everything else. So persons and vehicles, which
are redacted by their outline, are to be judged with `bbox=True`: else the street beside a person counts as visible
person. A binary mask does not say how strongly a pixel changed: a soft edge counts as covered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.datasets.tracks import LabelledTracks, Track, consecutive, frame_seconds
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE, object_mask
from anonymizer.evaluation.video.leaks import Leak, TrackLeaks, VideoLeaks
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.video.io.reader import VideoReader

__all__ = ["mask_frames", "video_leaks"]

#: in a mask, from which grey on a pixel is white; lossless ones have only 0 and 255
_WHITE = 128
#: how much the shape of frame and mask may differ: masks are scaled to whole pixels
_SHAPE = 0.02


def video_leaks(
    truth: LabelledTracks,
    masks: Path | str | Iterable[tuple[int, NDArray[Any]]],
    *,
    object_types: Sequence[ObjectType] | None = None,
    visible: float = VISIBLE,
    options: Options = Options(),  # noqa: B008 (frozen)
    times_s: ArrayLike | None = None,
    stream: int = 0,
) -> VideoLeaks:
    """Hold known tracks against the masks that were delivered.

    Args:
        masks: a video of binary masks, as a result has it; or numbers of frames from 0 up, rising, each with (h, w)
            bool or uint8, 0 = left as it was. Of the shape of the frames, in any size.
        object_types: that were to be redacted; the labelled ones without.
        visible: the largest share of an object's pixels, 0..1, that may be visible.
        options: what was redacted with: margins and soft edges of labelled objects are no over-redaction.
        times_s: when each frame is shown, rising, where the masks are no video and the truth does not say.
        stream: which of a mask video's tracks, counted from 0.

    Raises:
        BrokenMedia, UnsupportedMedia: the mask video cannot be read.
        OSError: it is not there.
        ValueError: an argument is out of range, the masks are no binary ones or have another shape than the frames, or
            the times of their frames are not known.
    """
    if not 0 <= visible <= 1:
        raise ValueError(f"visible is {visible}, but must be a share from 0 to 1.")
    types = tuple(object_types) if object_types is not None else truth.labelled
    judging = _Judging(truth.of_type(*types), types, visible, options)
    if isinstance(masks, str | Path):
        with closing(mask_frames(Path(masks), stream=stream)) as frames:
            for number, (time_s, length_s, mask) in enumerate(frames):
                judging.add(number, mask)
                judging.times.append(time_s)
                judging.only_s = length_s
        seconds = frame_seconds(np.array(judging.times), only_s=judging.only_s)
    else:
        known_s = truth.times_s if times_s is None else np.asarray(times_s, float)
        if not (np.diff(known_s) >= 0).all():
            raise ValueError("times_s must rise from frame to frame.")
        for number, mask in masks:
            if not 0 <= number < len(known_s):
                raise ValueError(f"times_s has {len(known_s)} times, but there is a mask for frame {number}.")
            judging.add(number, np.asarray(mask) > 0)
        seconds, judging.times = frame_seconds(known_s), known_s.tolist()
    return judging.result(seconds)


def mask_frames(path: Path, *, stream: int = 0) -> Generator[tuple[float, float, NDArray[np.bool_]]]:
    """The frames of a video of binary masks, one at a time.

    Args:
        stream: which of its video tracks, counted from 0.

    Returns:
        For each its time in seconds, about how long a frame is shown, and (h, w) bool.

    Raises:
        BrokenMedia, UnsupportedMedia: it cannot be read.
        OSError: it is not there.
        ValueError: it has no such track, or is not in grey.
    """
    with path.open("rb") as file:
        info = sniff(file.read(HEAD_BYTES))
    if info.kind is not MediaKind.VIDEO:
        raise UnsupportedMedia(f"{path} is a picture ({info.format}), not a video of masks.")
    with VideoReader(path, info, threads=1) as reader:
        if not 0 <= stream < len(reader.tracks):
            raise ValueError(f"stream is {stream}, but {path} has {len(reader.tracks)} video tracks, counted from 0.")
        track = reader.tracks[stream]
        for frame in reader.frames():
            if frame.track.index != track.index:
                continue
            if frame.damaged:
                raise BrokenMedia(f"Frame {frame.number} of {path} cannot be read whole.")
            if not frame.picture.format.name.startswith("gray"):
                raise ValueError(
                    f"masks is {path}, which is in {frame.picture.format.name}, but must be binary masks in grey."
                )
            grey = frame.picture.to_ndarray(format="gray")
            yield frame.time_s, 1 / float(track.frame_rate), np.asarray(grey >= _WHITE)


class _Judging:
    """Takes one mask after the other."""

    def __init__(
        self, truth: LabelledTracks, object_types: tuple[ObjectType, ...], visible: float, options: Options
    ) -> None:
        self._truth, self._types, self._visible, self._options = truth, object_types, visible, options
        self.times: list[float] = []
        self.only_s = 0.0
        self._shares = [np.full(len(each.frames), np.nan, np.float32) for each in truth.tracks]
        self._at: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for place, track in enumerate(truth.tracks):
            for row, number in enumerate(track.frames.tolist()):
                self._at[number].append((place, row))
        self._complete = bool(object_types) and set(object_types) <= set(truth.labelled)
        self._excess: dict[int, float] = {}
        self._judged: list[int] = []

    def add(self, number: int, mask: NDArray[np.bool_]) -> None:
        """The mask of a frame, (h, w) bool."""
        if self._judged and number <= self._judged[-1]:
            raise ValueError(f"masks has frame {number} after frame {self._judged[-1]}, but frames must rise.")
        if mask.ndim != 2:
            raise ValueError(f"masks has the shape {mask.shape} at frame {number}, but must be (h, w).")
        self._judged.append(number)
        scale = self._scale(mask.shape)
        there = self._at.pop(number, [])
        boxes = [self._truth.tracks[place].boxes[row] * scale for place, row in there]
        for (place, row), box in zip(there, boxes, strict=True):
            track = self._truth.tracks[place]
            if not track.ignored[row] and _inside(box, mask.shape):
                self._shares[place][row] = _visible_share(box, track.object_type, mask)
        if self._complete:
            of_types = [self._truth.tracks[place].object_type for place, _ in there]
            self._excess[number] = float((mask & ~_needed(boxes, of_types, mask.shape, self._options)).mean())

    def result(self, frame_s: NDArray[np.float64]) -> VideoLeaks:
        """What came of all masks.

        Args:
            frame_s: (frames,) how long each is shown, in seconds.
        """
        times_s = np.array(self.times)
        times_s = times_s - times_s[:1]
        tracks = zip(self._truth.tracks, self._shares, strict=True)
        left = sum(not self._truth.tracks[place].ignored[row] for each in self._at.values() for place, row in each)
        excess = np.array([self._excess.get(number, np.nan) for number in range(len(times_s))], np.float32)
        return VideoLeaks(
            tuple(self._track(track, shares, times_s, frame_s) for track, shares in tracks),
            times_s,
            float(frame_s[self._judged].sum()),
            excess if self._complete else None,
            left,
            tuple(each for each in OBJECT_TYPES if each in self._types),
        )

    def _track(
        self, track: Track, shares: NDArray[np.float32], times_s: NDArray[np.float64], frame_s: NDArray[np.float64]
    ) -> TrackLeaks:
        # not a number is not above anything
        uncovered = shares > self._visible
        leaks = tuple(
            Leak(track, int(run[0]), int(run[-1]), float(times_s[run[0]]), float(frame_s[run[0] : run[-1] + 1].sum()))
            for run in consecutive(track.frames[uncovered])
        )
        return TrackLeaks(track, shares, uncovered, leaks)

    def _scale(self, mask_hw: tuple[int, ...]) -> NDArray[np.float32]:
        """(4,) what boxes are multiplied by."""
        height, width = self._truth.size_hw or mask_hw
        down, across = mask_hw[0] / height, mask_hw[1] / width
        # a side of a few pixels is rounded by more
        if abs(mask_hw[0] - across * height) > max(1, _SHAPE * mask_hw[0]):
            raise ValueError(
                f"masks has {mask_hw[1]} x {mask_hw[0]} pixels, but must have the shape of frames, {width} x {height}."
            )
        return np.array([across, down] * 2, np.float32)


def _inside(box: NDArray[np.float32], size_hw: tuple[int, ...]) -> bool:
    return bool((box[:2] < (size_hw[1], size_hw[0])).all() and (box[2:] > 0).all())


def _visible_share(box: NDArray[np.float32], object_type: ObjectType, mask: NDArray[np.bool_]) -> float:
    """Share of an object's pixels inside the frame that lies outside the mask."""
    pixels = object_mask(Objects(box[None], np.zeros(1, bool)), 0, object_type, (mask.shape[0], mask.shape[1]))
    height, width = pixels.pixels.shape
    part = mask[pixels.y : pixels.y + height, pixels.x : pixels.x + width]
    return float((pixels.pixels & ~part).sum() / pixels.pixels.sum())


def _needed(
    boxes: Sequence[NDArray[np.float32]],
    object_types: Sequence[ObjectType],
    size_hw: tuple[int, ...],
    options: Options,
) -> NDArray[np.bool_]:
    """(h, w) bool: what redacting exactly the labelled objects would change, as faces' ellipses and as boxes."""
    n, size = len(boxes), (size_hw[0], size_hw[1])
    types = np.array([each.number for each in object_types], np.uint8)
    known = Detections(np.reshape(boxes, (-1, 4)), np.ones(n, np.float32), types, np.full(n, "label"))
    needed = np.zeros(size, bool)
    for shape in [
        *redaction_regions(known, size, options),
        *redaction_regions(known, size, replace(options, bbox=True)),
    ]:
        needed[shape.crop] |= shape.alpha > 0
    return needed
