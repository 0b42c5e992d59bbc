"""Proof of a video that was written: opened again, every frame decoded, counted, and some compared pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline.errors import AnonymizerError, EncoderFailed
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.verify_frame import check_frame

__all__ = ["Samples", "prove", "video_sizes"]

#: frames that are compared, and the memory that they may take
_FRAMES, _BYTES = 12, 96 * 2**20

Planes = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A frame as it was and as it was given to the encoder."""

    before: Planes
    after: Planes
    pixel_format: str
    form: PlaneFormat
    regions: Sequence[RedactionRegion]
    orientation: int


class Samples:
    """Some of the redacted frames, spread over a video whose length is not known before its end."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], Sample] = {}
        self._seen = 0
        self._every = 1

    def wants(self) -> bool:
        """Whether the next redacted frame is to be kept."""
        self._seen += 1
        return (self._seen - 1) % self._every == 0

    def keep(self, key: tuple[int, int], sample: Sample) -> None:
        """Keep a frame; where there are too many, every second one goes, and fewer are wanted from here on."""
        self._kept[key] = sample
        size = sum(plane.nbytes for plane in sample.before) * 2
        if len(self._kept) > max(2, min(_FRAMES, _BYTES // size)):
            self._every *= 2
            self._kept = dict(list(self._kept.items())[::2])

    def get(self, index: int, number: int) -> Sample | None:
        """The sample of a frame, by stream and number."""
        return self._kept.get((index, number))


def prove(
    path: Path, info: MediaInfo, tracks: Sequence[VideoTrack], times: dict[int, list[int]], samples: Samples
) -> None:
    """Make sure that a written video has every frame, at its time, and the sampled ones as they were meant to be.

    Args:
        tracks: of the source.
        times: by stream index, the times of all frames in the source's time base, in any order.

    Raises:
        EncoderFailed: it has not; there is no result.
    """
    try:
        with VideoReader(path, info) as reader:
            _compare(reader, tracks, times, samples)
    except EncoderFailed:
        raise
    except AnonymizerError as error:
        raise EncoderFailed(f"The result cannot be read again: {error}") from error


def _compare(reader: VideoReader, tracks: Sequence[VideoTrack], times: dict[int, list[int]], samples: Samples) -> None:
    if len(reader.tracks) != len(tracks):
        raise EncoderFailed(f"The result has {len(reader.tracks)} video tracks instead of {len(tracks)}.")
    sources = dict(zip((each.index for each in reader.tracks), tracks, strict=True))
    found: dict[int, list[float]] = {each.index: [] for each in reader.tracks}
    for frame in reader.frames():
        source = sources[frame.track.index]
        if frame.damaged:
            raise EncoderFailed(f"Frame {frame.number} of the result cannot be read whole.")
        if frame.track.size_wh != source.size_wh or frame.track.orientation != source.orientation:
            raise EncoderFailed("The result's frames have another size or lie otherwise than the source's.")
        found[frame.track.index].append(frame.time_s)
        sample = samples.get(source.index, frame.number)
        if sample is not None:
            planes = _planes_as(frame.picture, sample.pixel_format)
            check_frame(
                sample.before, sample.after, planes, sample.form, sample.regions, sample.orientation,
                number=frame.number,
            )  # fmt: skip
    for index, source in sources.items():
        _compare_times(found[index], sorted(times[source.index]), source, reader)


def _planes_as(picture: VideoFrame, wanted: str) -> Planes:
    """A frame's planes in a format; an encoder may have been given another one."""
    if picture.format.name.replace("yuvj", "yuv") != wanted.replace("yuvj", "yuv"):
        picture = picture.reformat(format=wanted)
    return frame_planes(picture, writable=False)


def _compare_times(found: list[float], times: list[int], source: VideoTrack, reader: VideoReader) -> None:
    if len(found) != len(times):
        raise EncoderFailed(f"{len(times)} frames were written, and the result has {len(found)}.")
    if not times:
        return
    wanted = np.array(times, np.float64) * float(source.time_base)
    tick = max(float(source.time_base), *(float(each.time_base) for each in reader.tracks))
    off = np.abs((np.array(found) - found[0]) - (wanted - wanted[0]))
    if off.max() > 1.01 * tick:
        number = int(off.argmax())
        raise EncoderFailed(f"Frame {number} of the result is shown {off[number]:.4f} s away from where it belongs.")


def video_sizes(path: Path, info: MediaInfo) -> dict[int, tuple[int, int]]:
    """By stream index, the bytes of each video track's packets, and how many there are."""
    with VideoReader(path, info) as reader:
        sizes = {each.index: (0, 0) for each in reader.tracks}
        for track, packet in reader.packets():
            if track is not None:
                size, count = sizes[track.index]
                sizes[track.index] = (size + packet.size, count + 1)
        return sizes
