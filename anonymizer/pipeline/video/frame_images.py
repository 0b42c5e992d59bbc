"""What detectors and segmenters see of a video frame: RGB, tone-mapped where it is HDR, and the fields one by one.

HDR frames are converted with a fixed curve for each channel:

1. The electro-optical transfer function (EOTF) of ITU-R BT.2100 gives the luminance of the display in cd/m2. For HLG,
   that is a display of 1000 cd/m2, whose system gamma of 1.2 is applied to each channel.
2. White paper is at 203 cd/m2 (ITU-R BT.2408). Luminances are divided by that.
3. Below half of it they stay. Above, they are compressed exponentially, so that highlights keep some contrast.
4. The inverse of the EOTF of ITU-R BT.1886 (gamma 2.4) gives an SDR signal.

Primaries are not converted: colours look a little paler, which detectors tolerate.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes, planar_format_name, plane_format
from anonymizer.pipeline.tracking.boxes import ious, union
from anonymizer.pipeline.video.io.codecs.fingerprints import fingerprint
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack

__all__ = ["FrameImages", "FrameRecord", "blacken", "merge_looks", "rgb_image", "split_fields", "to_planar"]

#: FFmpeg's numbers of the transfer characteristics of HDR: PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)
PQ, HLG = 16, 18
#: cd/m2 of white paper, and of the display that HLG is shown on
_WHITE, _HLG_PEAK, _HLG_GAMMA = 203.0, 1000.0, 1.2
#: share of white from which luminances are compressed
_KNEE = 0.5
_SDR_GAMMA = 2.4
#: IoU from which boxes of several looks at a frame are one object. An object that moves by half its width between two
#: fields has an IoU of a third.
_SAME_IOU = 0.3
#: share of the higher score from which the lower one counts as the same object
_SAME_SCORE = 0.5


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What is known of a decoded frame without its pixels.

    Attributes:
        track: of the frame.
        number: from 0, in the order of presentation.
        pts: when it is shown, in the time base of its track.
        damaged: whether it could not be read whole, or may build on such a frame.
        fingerprint: of its pixels, as `fingerprint` of `io.codecs.fingerprints` gives it.
    """

    track: VideoTrack
    number: int
    pts: int
    damaged: bool
    fingerprint: int

    @classmethod
    def of(cls, frame: DecodedFrame) -> FrameRecord:
        """Make the record of a decoded frame."""
        return cls(frame.track, frame.number, frame.picture.pts or 0, frame.damaged, fingerprint(frame.picture))

    @property
    def time_s(self) -> float:
        """When the frame is shown, in seconds."""
        return float(self.pts * self.track.time_base)


@dataclass(frozen=True, slots=True)
class FrameImages:
    """A frame, and what is looked at of it.

    Attributes:
        record: of the frame.
        images: for the detectors, (h, w, 3) uint8 RGB, upright, smaller than the frame. First the whole frame, then its
            fields if it is interlaced.
        grey: (h, w) uint8, the grey image of the first of them.
        small: the same at the size for tracking.
    """

    record: FrameRecord
    images: list[NDArray[np.uint8]]
    grey: NDArray[np.uint8]
    small: NDArray[np.uint8]


def rgb_image(
    picture: VideoFrame, size_wh: tuple[int, int], reformatter: VideoReformatter, *, interpolation: str = "AREA"
) -> NDArray[np.uint8]:
    """Convert a frame for detectors and segmenters.

    Args:
        picture: as stored. If it is marked as PQ or HLG, it is tone-mapped.
        size_wh: width and height in pixels to scale to.
        reformatter: converts it; one for all frames of a size is faster.
        interpolation: FFmpeg's name of the method of scaling.

    Returns:
        (h, w, 3) uint8 RGB, as stored, not upright.
    """
    curve = _curve(int(picture.color_trc))
    form = "rgb24" if curve is None else "rgb48le"
    converted = reformatter.reformat(picture, *size_wh, form, interpolation=interpolation).to_ndarray()
    return np.asarray(converted if curve is None else curve[converted], np.uint8)


@functools.lru_cache
def _curve(transfer: int) -> NDArray[np.uint8] | None:
    """(65536,) uint8, by 16-bit signal the SDR signal; None for a transfer characteristic that is not of HDR."""
    if transfer not in (PQ, HLG):
        return None
    signal = np.linspace(0, 1, 1 << 16)
    relative = (_pq_luminance(signal) if transfer == PQ else _hlg_luminance(signal)) / _WHITE
    over = np.maximum(relative - _KNEE, 0) / (1 - _KNEE)
    mapped = np.minimum(relative, _KNEE) + (1 - _KNEE) * (1 - np.exp(-over))
    return np.asarray(np.rint(255 * mapped ** (1 / _SDR_GAMMA)), np.uint8)


def _pq_luminance(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The EOTF of PQ, ITU-R BT.2100 table 4: cd/m2 of signals 0..1."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1))


def _hlg_luminance(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The EOTF of HLG, ITU-R BT.2100 table 5, for one channel: cd/m2 of signals 0..1."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return np.asarray(_HLG_PEAK * scene**_HLG_GAMMA)


def split_fields(picture: VideoFrame) -> list[VideoFrame]:
    """Split an interlaced frame into its two fields.

    In a woven frame, what moves has edges like a comb, and detectors miss it.

    Args:
        picture: as stored.

    Returns:
        The even and the odd lines, each a frame of half the height; nothing if there are too few lines for that.
    """
    form = plane_format(picture)
    if form is None:
        picture = picture.reformat(format=planar_format_name(picture.format.name))
    planes = frame_planes(picture, writable=False)
    if min(len(plane) for plane in planes) < 2:
        return []
    fields = []
    for parity in (0, 1):
        made = VideoFrame(picture.width, (picture.height + 1) // 2, picture.format.name)
        for target, plane in zip(frame_planes(made), planes, strict=True):
            lines = plane[parity::2]
            target[: len(lines)] = lines
            # where the lines are not even in number, the last one stands twice
            target[len(lines) :] = lines[-1]
        made.colorspace, made.color_range = picture.colorspace, picture.color_range
        made.color_trc, made.color_primaries = picture.color_trc, picture.color_primaries
        fields.append(made)
    return fields


def merge_looks(looks: Sequence[Detections]) -> Detections:
    """Merge what was detected in several images of one frame, as in its fields, between which objects move.

    Args:
        looks: for each image, with boxes in pixels of the frame and without masks.

    Returns:
        Each object once. Its box holds the boxes of all looks; score and model are those of the highest score.
    """
    merged = looks[0]
    for look in looks[1:]:
        merged = _add_look(merged, look)
    return merged


def _add_look(merged: Detections, look: Detections) -> Detections:
    boxes, scores = merged.boxes.copy(), merged.scores.copy()
    is_free, is_new = np.ones(len(merged), bool), np.ones(len(look), bool)
    models = [str(model) for model in merged.models]
    for row in np.argsort(-look.scores, kind="stable"):
        score = look.scores[row]
        low, high = np.minimum(merged.scores, score), np.maximum(merged.scores, score)
        may_be = is_free & (merged.types == look.types[row]) & (low >= _SAME_SCORE * high)
        overlaps = np.where(may_be, ious(look.boxes[row], merged.boxes), 0)
        if not len(overlaps) or overlaps.max() < _SAME_IOU:
            continue
        best = int(overlaps.argmax())
        is_free[best], is_new[row] = False, False
        boxes[best] = union(boxes[best], look.boxes[row])
        if score > scores[best]:
            scores[best], models[best] = score, str(look.models[row])
    known = replace(merged, boxes=boxes, scores=scores, models=np.array(models, np.str_))
    return Detections.merge([known, look[is_new]])


def to_planar(picture: VideoFrame, frame: DecodedFrame) -> tuple[VideoFrame, PlaneFormat]:
    """Lay out a frame in planes; the values stay the same.

    Args:
        picture: its pixels, in planes or packed.
        frame: as it was decoded, for the error.

    Returns:
        The frame, and the format of its planes.

    Raises:
        EncoderFailed: frames of this format cannot be redacted.
    """
    form = plane_format(picture)
    if form is None:
        pts, duration = picture.pts, picture.duration
        picture = picture.reformat(format=planar_format_name(picture.format.name))
        picture.pts, picture.duration = pts, duration
        form = plane_format(picture)
    if form is None:
        raise EncoderFailed(f"Frames of the format {frame.picture.format.name} cannot be redacted.")
    return picture, form


def blacken(planes: Sequence[NDArray[Any]], form: PlaneFormat) -> None:
    """Make all planes black, in place."""
    # there may be one plane more, for opacity
    for plane, black in zip(planes, form.black, strict=False):
        plane[...] = black
