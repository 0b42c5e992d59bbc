"""What is checked of each packet before it is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.video.io.codecs import nal_units
from anonymizer.pipeline.video.io.codecs.ffv1 import Ffv1Checksums
from anonymizer.pipeline.video.io.codecs.hevc_slices import HevcSlices

__all__ = ["STRICT", "PacketChecks", "reads_header"]

#: the options of a decoder that takes every fault for an error
STRICT: Mapping[str, str] = {"err_detect": "explode"}

#: the first bytes of an addition to a Matroska block that holds an alpha plane: its kind, 1
_ALPHA = (1).to_bytes(8, "big")


def reads_header(context: VideoCodecContext) -> bool:
    """Whether a strict decoder reads a track's header.

    Args:
        context: of the track's decoder.
    """
    try:
        _strict_reader(context).open()
    except av.FFmpegError:
        return False
    return True


def _strict_reader(context: VideoCodecContext) -> VideoCodecContext:
    reader = cast("VideoCodecContext", VideoCodecContext.create(context.codec.name, "r"))
    reader.extradata = context.extradata
    reader.width, reader.height = context.width, context.height
    reader.thread_count, reader.options = 1, dict(STRICT)
    return reader


class PacketChecks:
    """Checks the packets of one track.

    Args:
        codec: FFmpeg's name of the codec.
        context: of the decoder.

    Attributes:
        length_size: of H.264 and HEVC, see `nal_units.length_size`.
    """

    def __init__(self, codec: str, context: VideoCodecContext) -> None:
        self._codec = codec
        self._ffv1 = Ffv1Checksums()
        self._slices = HevcSlices()
        # reads the messages of HEVC
        self._reader: VideoCodecContext | None = None
        self.length_size = 0
        if codec in nal_units.CODECS:
            header = context.extradata
            self.length_size = nal_units.length_size(codec, header)
            self._reader = _strict_reader(context) if codec == "hevc" else None
            if codec == "hevc" and header is not None:
                self._slices.is_incomplete(_header_units(header) if self.length_size else nal_units.units(header, 0))

    def readable(self, packet: Packet[Any]) -> Packet[Any]:
        """Leave out what is no reason to refuse a picture.

        Args:
            packet: the next one of the track.

        Returns:
            The packet; of HEVC, one without its messages (SEI) if a strict decoder cannot read these.
        """
        if self._reader is None:
            return packet
        others = nal_units.join(nal_units.without_slices(bytes(packet), self.length_size), self.length_size)
        if not others:
            return packet
        try:
            self._reader.decode(Packet(others))
        except av.FFmpegError:
            bare: Packet[Any] = Packet(
                nal_units.join(nal_units.without_messages(bytes(packet), self.length_size), self.length_size)
            )
            bare.pts, bare.dts, bare.duration, bare.time_base = (
                packet.pts,
                packet.dts,
                packet.duration,
                packet.time_base,
            )
            bare.is_keyframe, bare.is_corrupt = packet.is_keyframe, packet.is_corrupt
            return bare
        return packet

    def is_damaged(self, packet: Packet[Any]) -> bool:
        """Tell whether parts of a picture are missing or changed, as far as its decoder does not tell.

        Args:
            packet: the next one of the track.

        Raises:
            UnsupportedMedia: it holds another picture beside the one that is decoded, which nothing would redact.
        """
        if self._codec in ("vp8", "vp9"):
            if (
                packet.has_sidedata("matroska_block_additional")
                and bytes(packet.get_sidedata("matroska_block_additional"))[:8] == _ALPHA
            ):
                raise _refusal("an alpha plane in a stream of its own")
            return False
        if self._codec == "qtrle":
            # its first bytes say how long it is; rows that are missing would stay as they were
            return int.from_bytes(bytes(packet)[:4], "big") & 0x3FFFFFFF > packet.size
        if self._codec == "ffv1":
            return self._ffv1.is_damaged(bytes(packet))
        if self._codec not in nal_units.CODECS:
            return False
        units = list(nal_units.units(bytes(packet), self.length_size))
        for unit in units:
            if (hidden := nal_units.hidden_picture(self._codec, unit)) is not None:
                raise _refusal(hidden)
        return self._codec == "hevc" and self._slices.is_incomplete(units)


def _refusal(hidden: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"The video has {hidden}, which is not supported: it would not be redacted.")


def _header_units(header: bytes) -> Iterator[bytes]:
    """The parameter sets in an `hvcC` box."""
    at = 23
    for _ in range(header[22]):
        count = int.from_bytes(header[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            length = int.from_bytes(header[at : at + 2], "big")
            yield header[at + 2 : at + 2 + length]
            at += 2 + length
