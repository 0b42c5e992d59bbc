"""Mask videos: one lossless image for each frame, FFV1 in Matroska (RFC 9043, RFC 9559)."""

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
from anonymizer.pipeline.video.io.track_writer import CannotSplice
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["MaskWriter"]

#: Several slices are coded at the same time. The small context model is as good as the large one for uniform areas.
_OPTIONS = {"level": "3", "slices": "4", "coder": "range_tab", "context": "0"}
#: The blue value where a whole frame is blackened and it is unknown what was there. The older layout has one value for
#: each type, and its highest value stands for all.
_EVERY_TYPE, _LEGACY_EVERY_TYPE = sum(object_type.flag for object_type in OBJECT_TYPES), 255


class MaskWriter:
    """Writes one mask video, with a stream for each track.

    Args:
        path: of the new file.
        tracks: of the source.
        instances: True: one colour for each object, as the contract has it. False: white where anything is anonymised.
        percent: size of the masks in percent of the frames.
        legacy: write colours in the older layout.
        threads: of each encoder; 0: as many as there are cores.
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
        self._container = av.open(str(path.absolute()), "w", format="matroska")
        self._streams: dict[int, VideoStream] = {}
        #: by track, a frame without an object as it is coded, and how many frames the encoder still holds back
        self._empty: dict[int, av.Packet[Any]] = {}
        self._held: dict[int, int] = {}
        for track in tracks:
            height, width = self._blank(track).shape[:2]
            rate = track.frame_rate.limit_denominator(1001) or Fraction(25)
            stream = self._container.add_stream("ffv1", rate=rate, options=dict(_OPTIONS))
            stream.width, stream.height = width, height
            stream.pix_fmt = "bgr0" if instances else "gray"
            stream.codec_context.time_base = track.time_base
            stream.codec_context.thread_count = threads
            # each frame can be decoded alone, and be copied into another version of the video
            stream.codec_context.gop_size = 1
            self._streams[track.index] = stream

    def write(self, track: VideoTrack, pts: int, regions: Sequence[RedactionRegion], *, whole: bool = False) -> None:
        """Write the mask of the next frame.

        Args:
            track: of the frame.
            pts: when it is shown, in the track's time base.
            regions: what is anonymised.
            whole: whether all of the frame is anonymised. In a mask with instances, such pixels have the object number
                0 and the bits of all types.

        Raises:
            EncoderFailed: the file cannot be written.
        """
        stream, is_empty = self._streams[track.index], not regions and not whole
        if is_empty and track.index in self._empty and not self._held[track.index]:
            # each frame is coded alone, so the same mask gives the same packet
            self._mux([_copied(self._empty[track.index], stream, track, pts)])
            return
        mask = self._mask(track, regions)
        if whole:
            every = _LEGACY_EVERY_TYPE if self._legacy else _EVERY_TYPE
            mask[...] = (0, 0, every) if self._instances else 255
        frame = VideoFrame.from_ndarray(mask, format="rgb24" if self._instances else "gray")
        if self._instances:
            frame = frame.reformat(format="bgr0")
        frame.pts, frame.time_base = pts, track.time_base
        packets = stream.encode(frame)
        self._held[track.index] = self._held.get(track.index, 0) + 1 - len(packets)
        if is_empty and len(packets) == 1 and packets[0].pts == pts:
            self._empty[track.index] = _copied(packets[0], stream, track, pts)
        self._mux(packets)

    def copy(self, track: VideoTrack, pts: int, packet: av.Packet[Any], header: bytes | None) -> None:
        """Write the mask of the next frame as it is in another file.

        Args:
            track: of the frame.
            pts: when it is shown, in the track's time base.
            packet: of the other file.
            header: what a decoder needs to read it.

        Raises:
            CannotSplice: the packets of that file are coded in another way.
            EncoderFailed: the file cannot be written.
        """
        stream = self._streams[track.index]
        if not stream.codec_context.is_open:
            # its header is known only then
            stream.codec_context.open()
        if header is None or header != stream.codec_context.extradata:
            raise CannotSplice("a mask that is coded in another way")
        self._mux([_copied(packet, stream, track, pts)])

    def close(self) -> None:
        """Finish the file.

        Raises:
            EncoderFailed: the file cannot be written.
        """
        for stream in self._streams.values():
            self._mux(stream.encode(None))
        self._container.close()

    def _blank(self, track: VideoTrack) -> NDArray[np.uint8]:
        return self._mask(track, ())

    def _mask(self, track: VideoTrack, regions: Sequence[RedactionRegion]) -> NDArray[np.uint8]:
        if self._instances:
            mask = masks.instance_mask(regions, track.size_hw, legacy=self._legacy)
        else:
            mask = masks.binary_mask(regions, track.size_hw)
        return np.ascontiguousarray(masks.scaled(mask, self._percent))

    def _mux(self, packets: Sequence[av.Packet[Any]]) -> None:
        try:
            self._container.mux(packets)
        except av.FFmpegError as error:
            raise EncoderFailed(f"A mask video cannot be written ({error.strerror}).") from error


def _copied(packet: av.Packet[Any], stream: VideoStream, track: VideoTrack, pts: int) -> av.Packet[Any]:
    made: av.Packet[Any] = av.Packet(bytes(packet))
    made.stream, made.time_base, made.is_keyframe = stream, track.time_base, True
    made.pts = made.dts = pts
    return made
