"""Writing one video track: encode frames, and give their packets the times of the source.

An encoder gets frames whose times are just their numbers. Its packets then get the times of the source, so that no
clock, frame rate or rounding of an encoder can move a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from av.container import OutputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.options.options import KeepMetadata
from anonymizer.pipeline.video.io.codecs.copied_units import ForeignParameterSet, copied_packet
from anonymizer.pipeline.video.io.codecs.h264_parameters import has_redundant_pictures, hides_pixels
from anonymizer.pipeline.video.io.encoders import EncoderSettings, open_encoder
from anonymizer.pipeline.video.io.metadata import kept_of_attachment, kept_of_track
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.splice import LARGEST_ID, ParameterSets, join_headers, to_length_prefixed
from anonymizer.pipeline.video.io.tracks import VideoTrack

__all__ = ["CannotSplice", "TrackWriter", "copy_description"]


class CannotSplice(Exception):
    """Copied and encoded stretches do not fit together: the whole video has to be encoded."""


class TrackWriter:
    """Encodes the frames of one track and writes their packets.

    Args:
        container: the open file; the track gets a new stream in it.
        source: the open source.
        track: of the source.
        settings: of the encoder.
        keep_metadata: what of the track's metadata is kept.
        splice: prepare the track for copied stretches between encoded ones, if that is possible.
        threads: of the encoder; 0: as many as there are cores.

    Attributes:
        stream: of the new file.
        splices: whether copied packets may stand between encoded ones.

    Raises:
        EncoderFailed: the encoder cannot be opened.
    """

    def __init__(
        self,
        container: OutputContainer,
        source: VideoReader,
        track: VideoTrack,
        settings: EncoderSettings,
        *,
        keep_metadata: KeepMetadata,
        splice: bool,
        threads: int,
    ) -> None:
        template = source.stream(track)
        self._container, self._track, self._settings, self._threads = container, track, settings, threads
        self._context = template.codec_context
        self._header = bool(Flags(container.format.flags) & Flags.global_header)
        self.splices = False
        self._known: frozenset[bytes] = frozenset()
        self._with_times = keep_metadata is not KeepMetadata.NONE
        # Matroska does not store when the first frames are decoded; other containers have no header for parameter sets
        mp4 = container.format.name in ("mp4", "mov")
        if splice and mp4 and settings.same_codec and settings.encoder == "libx264":
            self._prepare_splice(template)
        if settings.same_codec:
            self.stream = container.add_stream_from_template(template, opaque=True)
            own = self.stream.codec_context
            # the container's own, which may differ from the codec's
            own.sample_aspect_ratio = track.pixel_aspect
            if own.codec_tag != template.codec_context.codec_tag and container.format.name in ("mp4", "mov"):
                own.codec_tag = template.codec_context.codec_tag
            if not own.framerate and template.average_rate and template.average_rate == template.base_rate:
                # how long each frame is shown, if neither codec nor packets tell
                own.framerate = template.average_rate
        else:
            self.stream = _video(container.add_stream(settings.encoder, rate=settings.rate))
            own = self.stream.codec_context
            if mp4 and settings.encoder in ("libx265", "hevc_nvenc"):
                # Apple's players open nothing else; all parameter sets are in the header, as this tag asks for
                own.codec_tag = "hvc1"
            if track.display_matrix is not None:
                self.stream.set_display_matrix(track.display_matrix)
        self.stream.time_base = track.time_base
        copy_description(self.stream, template, keep_metadata)
        # a new stream's own encoder writes the header
        self._encoder: VideoCodecContext | None = self._open(None if settings.same_codec else own)
        if self.splices:
            own.extradata = self._joined_header
        elif settings.same_codec:
            own.extradata = self._encoder.extradata
        self._decode_times: Sequence[int] | None = None
        self._reset()

    def _prepare_splice(self, template: VideoStream) -> None:
        """Find out whether the parameter sets of source and encoder fit in one header; choose the id of ours."""
        source = ParameterSets.from_header(template.codec_context.extradata)
        if source is None or not self._header or not source.is_pure:
            return
        if any(map(hides_pixels, source.sps)) or any(map(has_redundant_pictures, source.pps)):
            # copied pictures would hold pixels that nobody sees in a player, and that others may uncover
            return
        if self._track.interlaced and not self._with_times:
            # the timing of pictures tells the order of their fields, and may hold the time of day
            return
        self._known = frozenset(source.sps + source.pps)
        free = next((number for number in range(1, LARGEST_ID + 1) if number not in source.ids), None)
        if free is None:
            return
        reorders = template.codec_context.has_b_frames
        # the packets get the dts of the source: no frame may be decoded later than in the source
        frames = "bframes=3:b-pyramid=0" if reorders else "bframes=0"
        more = {"x264-params": f"sps-id={free}:{frames}"}
        settings = replace(self._settings, options={**self._settings.options, **more})
        trial = open_encoder(settings, self._track, template.codec_context, header=True, threads=1)
        own = ParameterSets.from_encoder(trial.extradata)
        header = None if own is None else join_headers(source, own)
        if header is not None:
            self._settings, self._joined_header, self.splices = settings, header, True

    def _open(self, encoder: VideoCodecContext | None = None) -> VideoCodecContext:
        return open_encoder(
            self._settings, self._track, self._context, encoder=encoder, header=self._header, threads=self._threads
        )

    def _reset(self) -> None:
        self._given = self._got = 0
        self._delay: int | None = None
        self._times: dict[int, tuple[int, int]] = {}

    def begin_encoding(self, decode_times: Sequence[int]) -> None:
        """Begin a stretch of encoded frames, whose packets get these dts. The list may grow meanwhile."""
        self._decode_times = decode_times
        self._reset()

    @property
    def header(self) -> bytes | None:
        """The parameter sets of copied and of encoded stretches; None: the track cannot have both."""
        return self._joined_header if self.splices else None

    def encode(self, picture: VideoFrame, pts: int, duration: int) -> None:
        """Encode a frame, and write the packets that the encoder gives out.

        Args:
            picture: the frame, as stored, in any pixel format. Its own times are overwritten.
            pts: when the frame is shown, in ticks of the track's time base.
            duration: how long the frame is shown, in ticks of the track's time base; 0 if it is unknown.

        Raises:
            CannotSplice: the frame does not fit between copied stretches.
            EncoderFailed: the encoder cannot be opened, or a packet has no time.
            av.FFmpegError: FFmpeg cannot encode the frame or write a packet.
        """
        if self._encoder is None:
            self._encoder = self._open()
        # where stretches are copied, key frames stay key frames, so that the groups of two versions of a video fit
        begins_group = self._given == 0 or bool(picture.key_frame)
        if picture.format.name != self._settings.pixel_format:
            picture = picture.reformat(format=self._settings.pixel_format)
        self._times[self._given] = (pts, duration)
        picture.pts, picture.time_base = self._given, self._encoder.time_base
        picture.dts = None
        # the encoder chooses the type of all other frames again
        picture.pict_type = 1 if begins_group and self.splices else 0
        self._given += 1
        self._mux(self._encoder.encode(picture))

    def copy(self, packet: Packet[Any]) -> None:
        """Write a packet of the source between encoded stretches: what shows its picture, and nothing beside it.

        Args:
            packet: of the track.

        Raises:
            CannotSplice: the packet holds a parameter set of its own.
            av.FFmpegError: FFmpeg cannot write the packet.
        """
        try:
            bare: Packet[Any] = Packet(copied_packet(bytes(packet), self._known, with_times=self._with_times))
        except ForeignParameterSet:
            raise CannotSplice("a packet with a parameter set of its own") from None
        bare.stream, bare.time_base = self.stream, packet.time_base
        bare.pts, bare.dts, bare.duration = packet.pts, packet.dts, packet.duration
        bare.is_keyframe = packet.is_keyframe
        self._container.mux_one(bare)

    def end_encoding(self) -> None:
        """End a stretch: write what the encoder still holds back.

        Raises:
            CannotSplice: a frame does not fit between copied stretches.
            EncoderFailed: a frame is missing, or a packet has no time.
        """
        if self._encoder is None or not self._given:
            return
        self._mux(self._encoder.encode(None))
        if self._got != self._given:
            raise EncoderFailed(f"The encoder was given {self._given} frames and wrote {self._got}.")
        # an encoder that was flushed takes no more frames
        self._encoder = None
        self._reset()

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            if packet.pts is None:
                raise EncoderFailed("The encoder wrote a packet without a time.")
            if self._delay is None:
                self._delay = max(0, -(packet.dts or 0))
                first, length = self._times[0]
                step = length or round(1 / (self._settings.rate * self._track.time_base))
                self._times |= {-n: (first - n * step, length) for n in range(1, self._delay + 1)}
            pts, duration = self._times[packet.pts]
            if self._decode_times is not None:
                del self._times[packet.pts]
                dts = self._decode_times[self._got]
                if dts > pts:
                    raise CannotSplice("a frame would be decoded later than shown")
            else:
                dts, _ = self._times.pop(self._got - self._delay)
            if self.splices:
                key = packet.is_keyframe
                packet = Packet(to_length_prefixed(bytes(packet)))
                packet.is_keyframe = key
            self._got += 1
            packet.stream = self.stream
            packet.time_base = self._track.time_base
            packet.pts, packet.dts, packet.duration = pts, dts, duration
            self._container.mux_one(packet)


def _video(stream: object) -> VideoStream:
    assert isinstance(stream, VideoStream)
    return stream


def copy_description(stream: Stream, source: Stream, keep: KeepMetadata) -> None:
    """Copy a stream's metadata (language, names, dates) and disposition (default, forced, for the deaf …).

    Args:
        stream: the new stream, which is changed.
        source: the stream to copy from. The name of its encoder is not copied.
        keep: what of the metadata is kept.
    """
    # the muxer writes its own name there
    choose = kept_of_attachment if source.type == "attachment" else kept_of_track
    kept = choose(source.metadata, keep)
    # PyAV has copied that of some kinds of streams already
    stream.metadata.clear()
    stream.metadata.update({key: value for key, value in kept.items() if key != "encoder"})
    stream.disposition = source.disposition
