"""Compare known tracks with the masks of a redacted video, frame by frame.

The pixels of a face are the ellipse in its box. The pixels of every other object are its whole box. Persons and
vehicles are normally redacted by their outline, so redact with `bbox=True` for this comparison. Otherwise the street
beside a person counts as a visible part of the person. A binary mask does not say how strongly a pixel changed, so a
soft edge counts as covered.
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
from anonymizer.evaluation.datasets.tracks import LabelledTracks, ObjectTrack, consecutive, frame_seconds
from anonymizer.evaluation.metrics.leak_coverage import VISIBLE, object_mask
from anonymizer.evaluation.video.leaks import Leak, TrackLeaks, VideoLeaks
from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.regions import redaction_regions
from anonymizer.pipeline.video.io.reader import VideoReader

__all__ = ["mask_frames", "video_leaks"]

#: A pixel of a mask is white from this grey level on. Lossless masks have only 0 and 255.
_WHITE = 128
#: how much the aspect ratios of frame and mask may differ, because masks are scaled to whole pixels
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
    """Compare known tracks with the masks of a redacted video.

    Args:
        truth: the tracks of the real objects.
        masks: a video file of binary masks, such as `VideoResult.binary_mask`. Or pairs of a frame number, from 0 up
            and rising, and a mask. Such a mask is (h, w) bool or uint8 with 0 for unchanged pixels. Masks may have any
            size, but need the aspect ratio of the frames.
        object_types: the types that were redacted; default: all types that are labelled.
        visible: the largest share of an object's pixels, 0..1, that may be visible; default: 0.1.
        options: the options of the redaction. Margins and soft edges of labelled objects are no over-redaction.
        times_s: (frames,) seconds at which each frame is shown, rising; only used if the masks are no video; default:
            the times of `truth`.
        stream: which video track of the mask file, counted from 0; default: 0.

    Returns:
        The leaks of each track.

    Raises:
        BrokenMedia, UnsupportedMedia: the mask video cannot be read.
        OSError: the mask video does not exist.
        ValueError: an argument is out of range, the masks are not binary, their aspect ratio differs from that of the
            frames, or the times of the frames are not known.

    Examples:
        >>> truth = LabelledTracks.read_mot("sequence/gt/gt.txt")  # doctest: +SKIP
        >>> print(video_leaks(truth, result.binary_mask, options=result.options).table())  # doctest: +SKIP
    """
    if not 0 <= visible <= 1:
        raise ValueError(f"visible is {visible}, but must be a share from 0 to 1.")
    types = tuple(object_types) if object_types is not None else truth.labelled
    comparison = _MaskComparison(truth.of_type(*types), types, visible, options)
    if isinstance(masks, str | Path):
        with closing(mask_frames(Path(masks), stream=stream)) as frames:
            for number, (time_s, length_s, mask) in enumerate(frames):
                comparison.add(number, mask)
                comparison.times.append(time_s)
                comparison.only_s = length_s
        seconds = frame_seconds(np.array(comparison.times), only_s=comparison.only_s)
    else:
        known_s = truth.times_s if times_s is None else np.asarray(times_s, float)
        if not (np.diff(known_s) >= 0).all():
            raise ValueError("times_s must rise from frame to frame.")
        for number, mask in masks:
            if not 0 <= number < len(known_s):
                raise ValueError(f"times_s has {len(known_s)} times, but there is a mask for frame {number}.")
            comparison.add(number, np.asarray(mask) > 0)
        seconds, comparison.times = frame_seconds(known_s), known_s.tolist()
    return comparison.result(seconds)


def mask_frames(path: Path, *, stream: int = 0) -> Generator[tuple[float, float, NDArray[np.bool_]]]:
    """Read the frames of a video of binary masks, one at a time.

    Args:
        path: the video file.
        stream: which of its video tracks, counted from 0; default: 0.

    Yields:
        For each frame its time in seconds, the approximate duration of a frame in seconds, and the mask, (h, w) bool.

    Raises:
        BrokenMedia, UnsupportedMedia: the file cannot be read.
        OSError: the file does not exist.
        ValueError: the file has no such track, or is not in grey.
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


class _MaskComparison:
    """Compares tracks with one mask after the other."""

    def __init__(
        self, truth: LabelledTracks, object_types: tuple[ObjectType, ...], visible: float, options: Options
    ) -> None:
        self._truth, self._types, self._visible, self._options = truth, object_types, visible, options
        self.times: list[float] = []
        self.only_s = 0.0
        self._shares = [np.full(len(track.frames), np.nan, np.float32) for track in truth.tracks]
        self._at: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for index, track in enumerate(truth.tracks):
            for row, number in enumerate(track.frames.tolist()):
                self._at[number].append((index, row))
        self._complete = bool(object_types) and set(object_types) <= set(truth.labelled)
        self._excess: dict[int, float] = {}
        self._compared: list[int] = []

    def add(self, number: int, mask: NDArray[np.bool_]) -> None:
        """Add the mask of a frame, (h, w) bool."""
        if self._compared and number <= self._compared[-1]:
            raise ValueError(f"masks has frame {number} after frame {self._compared[-1]}, but frames must rise.")
        if mask.ndim != 2:
            raise ValueError(f"masks has the shape {mask.shape} at frame {number}, but must be (h, w).")
        self._compared.append(number)
        scale = self._scale(mask.shape)
        present = self._at.pop(number, [])
        boxes = [self._truth.tracks[index].boxes[row] * scale for index, row in present]
        for (index, row), box in zip(present, boxes, strict=True):
            track = self._truth.tracks[index]
            if not track.ignored[row] and _inside(box, mask.shape):
                self._shares[index][row] = _visible_share(box, track.object_type, mask)
        if self._complete:
            of_types = [self._truth.tracks[index].object_type for index, _ in present]
            self._excess[number] = float((mask & ~_needed(boxes, of_types, mask.shape, self._options)).mean())

    def result(self, frame_s: NDArray[np.float64]) -> VideoLeaks:
        """Summarise the masks that were added.

        Args:
            frame_s: (frames,) how long each frame is shown, in seconds.
        """
        times_s = np.array(self.times)
        times_s = times_s - times_s[:1]
        tracks = zip(self._truth.tracks, self._shares, strict=True)
        without_mask = sum(
            not self._truth.tracks[index].ignored[row] for frame in self._at.values() for index, row in frame
        )
        excess = np.array([self._excess.get(number, np.nan) for number in range(len(times_s))], np.float32)
        return VideoLeaks(
            tuple(self._track(track, shares, times_s, frame_s) for track, shares in tracks),
            times_s,
            float(frame_s[self._compared].sum()),
            excess if self._complete else None,
            without_mask,
            tuple(each for each in OBJECT_TYPES if each in self._types),
        )

    def _track(
        self,
        track: ObjectTrack,
        shares: NDArray[np.float32],
        times_s: NDArray[np.float64],
        frame_s: NDArray[np.float64],
    ) -> TrackLeaks:
        # a comparison with NaN is False
        uncovered = shares > self._visible
        leaks = tuple(
            Leak(track, int(run[0]), int(run[-1]), float(times_s[run[0]]), float(frame_s[run[0] : run[-1] + 1].sum()))
            for run in consecutive(track.frames[uncovered])
        )
        return TrackLeaks(track, shares, uncovered, leaks)

    def _scale(self, mask_hw: tuple[int, ...]) -> NDArray[np.float32]:
        """(4,) the factors that convert boxes of frames to boxes of masks."""
        height, width = self._truth.size_hw or mask_hw
        down, across = mask_hw[0] / height, mask_hw[1] / width
        # rounding changes a side of a few pixels by more
        if abs(mask_hw[0] - across * height) > max(1, _SHAPE * mask_hw[0]):
            raise ValueError(
                f"masks has {mask_hw[1]} x {mask_hw[0]} pixels, but must have the shape of frames, {width} x {height}."
            )
        return np.array([across, down] * 2, np.float32)


def _inside(box: NDArray[np.float32], size_hw: tuple[int, ...]) -> bool:
    return bool((box[:2] < (size_hw[1], size_hw[0])).all() and (box[2:] > 0).all())


def _visible_share(box: NDArray[np.float32], object_type: ObjectType, mask: NDArray[np.bool_]) -> float:
    """Share of an object's pixels that lies outside the mask; only pixels inside the frame count."""
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
    """(h, w) bool: what redacting exactly the labelled objects would change, as ellipses for faces and as boxes."""
    n, size = len(boxes), (size_hw[0], size_hw[1])
    types = np.array([object_type.number for object_type in object_types], np.uint8)
    known = Detections(np.reshape(boxes, (-1, 4)), np.ones(n, np.float32), types, np.full(n, "label"))
    needed = np.zeros(size, bool)
    for region in [
        *redaction_regions(known, size, options),
        *redaction_regions(known, size, replace(options, bbox=True)),
    ]:
        needed[region.crop] |= region.alpha > 0
    return needed
