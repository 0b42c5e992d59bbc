"""Masks of a video: one lossless picture a frame, FFV1 in Matroska (RFC 9043, RFC 9559)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.outputs import masks
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["MaskWriter"]

#: several slices are coded at once; the small model is as good as the large one for areas of one value
_OPTIONS = {"level": "3", "slices": "4", "coder": "range_tab", "context": "0"}


#: blue where it is not known what was there; the older layout has one value for a type, and its highest stands for all
_EVERY_TYPE, _LEGACY_EVERY_TYPE = sum(each.flag for each in OBJECT_TYPES), 255


class MaskWriter:
    """Writes one mask video, with a stream for each track.

    Args:
        instances: the colours of the contract, one for each object; else white where anything is anonymised.
        percent: size of the masks.
        legacy: colours in the older layout.
    """

    def __init__(
        self,
        path: Path,
        tracks: Sequence[VideoTrack],
        *,
        instances: bool,
        percent: int = 100,
        legacy: bool = False,
        threads: int = 0,
    ) -> None:
        self._instances, self._percent, self._legacy = instances, percent, legacy
        self._container = av.open(str(path), "w", format="matroska")
        self._streams: dict[int, VideoStream] = {}
        for each in tracks:
            height, width = self._blank(each).shape[:2]
            rate = each.frame_rate.limit_denominator(1001) or Fraction(25)
            stream = self._container.add_stream("ffv1", rate=rate, options=dict(_OPTIONS))
            stream.width, stream.height = width, height
            stream.pix_fmt = "bgr0" if instances else "gray"
            stream.codec_context.time_base = each.time_base
            stream.codec_context.thread_count = threads
            self._streams[each.index] = stream

    def write(self, track: VideoTrack, pts: int, where: Sequence[RedactionRegion], *, whole: bool = False) -> None:
        """The mask of the next frame, at a time of the track's time base; whole: all of it is anonymised.

        In a mask of instances, what is anonymised and belongs to no object has the number 0 and every type's bit.
        """
        mask = self._mask(track, where)
        if whole:
            every = _LEGACY_EVERY_TYPE if self._legacy else _EVERY_TYPE
            mask[...] = (0, 0, every) if self._instances else 255
        frame = VideoFrame.from_ndarray(mask, format="rgb24" if self._instances else "gray")
        if self._instances:
            frame = frame.reformat(format="bgr0")
        frame.pts, frame.time_base = pts, track.time_base
        self._mux(self._streams[track.index].encode(frame))

    def close(self) -> None:
        """Finish the file."""
        for each in self._streams.values():
            self._mux(each.encode(None))
        self._container.close()

    def _blank(self, track: VideoTrack) -> NDArray[np.uint8]:
        return self._mask(track, ())

    def _mask(self, track: VideoTrack, where: Sequence[RedactionRegion]) -> NDArray[np.uint8]:
        if self._instances:
            mask = masks.instance_mask(where, track.size_hw, legacy=self._legacy)
        else:
            mask = masks.binary_mask(where, track.size_hw)
        return np.ascontiguousarray(masks.scaled(mask, self._percent))

    def _mux(self, packets: Sequence[av.Packet[Any]]) -> None:
        try:
            self._container.mux(packets)
        except av.FFmpegError as error:
            raise EncoderFailed(f"A mask video cannot be written ({error.strerror}).") from error
