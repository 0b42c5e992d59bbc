"""Verify a video that was written: decode it again, count its frames, check their times, and compare some frames.

The comparison of one frame is in `verify_frame`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline.errors import AnonymizerError, Cancelled, EncoderFailed
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.verify_frame import check_frame

__all__ = ["FrameSample", "FrameSamples", "verify_file", "video_sizes"]

#: the most frames that are compared, and the most bytes that they may take in memory
_MAX_SAMPLES, _MAX_BYTES = 24, 96 * 2**20

Planes = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FrameSample:
    """A frame before and after redaction, kept to be compared with the result.

    Attributes:
        before: the plane of luma, grey or green as it was decoded, (h, w) uint8 or uint16, as stored.
        after: the same plane as it was given to the encoder.
        pixel_format: of both, FFmpeg's name.
        form: how the planes are to be read.
        regions: where pixels were changed, in pixels of the upright frame.
        orientation: 1 to 8 as in EXIF: how the planes are turned to stand upright.
    """

    before: NDArray[Any]
    after: NDArray[Any]
    pixel_format: str
    form: PlaneFormat
    regions: Sequence[RedactionRegion]
    orientation: int


class FrameSamples:
    """Some of the redacted frames, drawn by chance: each has the same one, however long the video is.

    The draw differs from run to run, so that no fault can keep away from it.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[int, int], FrameSample]] = []
        self._random = random.SystemRandom()
        self._asked = 0
        self._most = _MAX_SAMPLES

    def wants_next(self) -> bool:
        """Whether the next redacted frame is to be kept; call it once for each."""
        self._asked += 1
        return self._random.randrange(self._asked) < self._most

    def keep(self, key: tuple[int, int], sample: FrameSample) -> None:
        """Keep a frame, in place of another one if there are enough.

        Args:
            key: the stream's index and the frame's number in its track.
            sample: the frame.
        """
        size = sample.before.nbytes + sample.after.nbytes
        # a track of larger frames leaves room for fewer
        self._most = min(self._most, max(2, _MAX_BYTES // size))
        while len(self._kept) >= self._most:
            del self._kept[self._random.randrange(len(self._kept))]
        self._kept.append((key, sample))

    def get(self, index: int, number: int) -> FrameSample | None:
        """Get the sample of a frame.

        Args:
            index: the index of the stream.
            number: the number of the frame in its track, from 0 up.

        Returns:
            The sample; None if the frame was not kept.
        """
        return next((sample for key, sample in self._kept if key == (index, number)), None)


def verify_file(
    path: Path,
    info: MediaInfo,
    tracks: Sequence[VideoTrack],
    times: dict[int, list[int]],
    samples: FrameSamples,
    on_frame: Callable[[int], None] = lambda _: None,
) -> None:
    """Make sure that a written video has every frame at its time, and that the sampled frames look as intended.

    Args:
        path: of the written video.
        info: its format.
        tracks: of the source.
        times: by stream index, the pts of all frames in the source's time base, in any order.
        samples: frames to compare.
        on_frame: called at each frame with the number of frames so far. An error that it raises ends the work.

    Raises:
        EncoderFailed: the video is not as it should be. Then there is no result.
    """
    try:
        with VideoReader(path, info) as reader:
            _compare(reader, tracks, times, samples, on_frame)
    except (Cancelled, EncoderFailed):
        raise
    except AnonymizerError as error:
        raise EncoderFailed(f"The result cannot be read again: {error}") from error


def _compare(
    reader: VideoReader,
    tracks: Sequence[VideoTrack],
    times: dict[int, list[int]],
    samples: FrameSamples,
    on_frame: Callable[[int], None],
) -> None:
    if len(reader.tracks) != len(tracks):
        raise EncoderFailed(f"The result has {len(reader.tracks)} video tracks instead of {len(tracks)}.")
    sources = dict(zip((track.index for track in reader.tracks), tracks, strict=True))
    times_s: dict[int, list[float]] = {track.index: [] for track in reader.tracks}
    for count, frame in enumerate(reader.frames(), 1):
        on_frame(count)
        source = sources[frame.track.index]
        if frame.damaged:
            raise EncoderFailed(f"Frame {frame.number} of the result cannot be read whole.")
        if frame.track.size_wh != source.size_wh or frame.track.orientation != source.orientation:
            raise EncoderFailed("The result's frames differ from the source's in size or orientation.")
        times_s[frame.track.index].append(frame.time_s)
        sample = samples.get(source.index, frame.number)
        if sample is not None:
            planes = _planes_as(frame.picture, sample.pixel_format)
            check_frame(
                [sample.before], [sample.after], planes, sample.form, sample.regions, sample.orientation,
                number=frame.number,
            )  # fmt: skip
    for index, source in sources.items():
        _compare_times(times_s[index], sorted(times[source.index]), source, reader)


def _planes_as(picture: VideoFrame, wanted: str) -> Planes:
    """A frame's planes in the wanted pixel format. The encoder may have been given another format."""
    if picture.format.name.replace("yuvj", "yuv") != wanted.replace("yuvj", "yuv"):
        picture = picture.reformat(format=wanted)
    return frame_planes(picture, writable=False)


def _compare_times(times_s: list[float], expected: list[int], source: VideoTrack, reader: VideoReader) -> None:
    """Compare the times of a track in the result with those of the source, both counted from the first frame."""
    if len(times_s) != len(expected):
        raise EncoderFailed(f"{len(expected)} frames were written, and the result has {len(times_s)}.")
    if not expected:
        return
    expected_s = np.array(expected, np.float64) * float(source.time_base)
    tick = max(float(source.time_base), *(float(track.time_base) for track in reader.tracks))
    off = np.abs((np.array(times_s) - times_s[0]) - (expected_s - expected_s[0]))
    if off.max() > 1.01 * tick:
        number = int(off.argmax())
        raise EncoderFailed(f"Frame {number} of the result is shown {off[number]:.4f} s away from where it belongs.")


def video_sizes(path: Path, info: MediaInfo) -> dict[int, tuple[int, int]]:
    """Measure the video tracks of a file.

    Args:
        path: of the file.
        info: its format.

    Returns:
        By stream index, the bytes of the track's packets and the number of packets.

    Raises:
        BrokenMedia: the file cannot be read.
    """
    with VideoReader(path, info) as reader:
        sizes = {track.index: (0, 0) for track in reader.tracks}
        for track, packet in reader.packets():
            if track is not None:
                size, count = sizes[track.index]
                sizes[track.index] = (size + packet.size, count + 1)
        return sizes
