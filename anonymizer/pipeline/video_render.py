"""The second reading of a video: redact, encode, and write masks and metadata frame by frame."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline import metadata
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.objects import Detections, ObjectType
from anonymizer.pipeline.options import DamagedFrames, Options
from anonymizer.pipeline.planes import (
    PlaneFormat,
    draw_planes,
    frame_planes,
    planar_name,
    plane_format,
    redact_planes,
)
from anonymizer.pipeline.shapes import Shape, shapes
from anonymizer.pipeline.stages import Pipe, Run
from anonymizer.pipeline.stills import upright
from anonymizer.pipeline.video_codecs import Output
from anonymizer.pipeline.video_io import Frame, FrameDecoder, VideoReader, VideoTrack
from anonymizer.pipeline.video_look import Findings, Found
from anonymizer.pipeline.video_masks import MaskWriter
from anonymizer.pipeline.video_proof import Sample, Samples
from anonymizer.pipeline.video_sink import CannotSplice, VideoSink
from anonymizer.pipeline.video_splice import is_closed_start

if TYPE_CHECKING:
    from anonymizer.pipeline.anonymizer import Anonymizer

__all__ = ["Extras", "Rendered", "Rendering"]

#: frames between two stages
_QUEUE = 4
#: a longer group of pictures is encoded without waiting for its end
_LONGEST_GROUP = 2000


@dataclass(slots=True)
class Rendered:
    """What came of a rendering, in numbers; by stream index where there may be several tracks.

    Attributes:
        times: of the frames that were written, copied ones too, in the tracks' time bases, in order of presentation.
        tracks: the ids of tracks that were redacted, by object type.
        loose: redacted objects that belong to no track, by object type.
    """

    times: dict[int, list[int]] = field(default_factory=dict)
    copied: int = 0
    redacted: int = 0
    filled: int = 0
    blackened: int = 0
    lost: int = 0
    tracks: dict[ObjectType, set[int]] = field(default_factory=dict)
    loose: Counter[ObjectType] = field(default_factory=Counter)
    mask_models: dict[str, None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(len(each) for each in self.times.values())


@dataclass(frozen=True, slots=True)
class _Pictured:
    """A frame on its way to the encoder."""

    frame: Frame
    picture: VideoFrame
    detections: Detections
    shapes: Sequence[Shape]
    blackened: bool


@dataclass(frozen=True, slots=True)
class _Copied:
    """A group of pictures that is written as it is."""

    track: VideoTrack
    packets: list[Packet[Any]]
    first: int
    times: list[int]


@dataclass(frozen=True, slots=True)
class _Begin:
    """Encoded frames follow, at the source's times of decoding, which are still being added to."""

    track: VideoTrack
    decode_times: list[int]


@dataclass(frozen=True, slots=True)
class _End:
    track: VideoTrack


_Item: TypeAlias = "Frame | Packet[Any] | _Copied | _Begin | _End"


class Rendering:
    """One rendering of a video; with `keep_bit_rate` there are several.

    Args:
        target: the result; None: none is written (the method `detect`).
        extras: where metadata and masks go; None: they are there already.
        samples: collects what the result is compared with.
    """

    def __init__(
        self,
        anonymizer: Anonymizer,
        path: Path,
        info: MediaInfo,
        run: Run,
        findings: dict[int, Findings],
        options: Options,
        output: Output,
        *,
        target: Path | None,
        extras: Extras | None,
        samples: Samples,
        seed: int,
        name: str,
        splice: bool,
        threads: int,
    ) -> None:
        self._anonymizer, self._path, self._info, self._run = anonymizer, path, info, run
        self._findings, self._options, self._output = findings, options, output
        self._target, self._extras, self._samples = target, extras, samples
        self._seed, self._name, self._splice, self._threads = seed, name, splice, threads
        self.rendered = Rendered()
        self._reader: VideoReader | None = None

    def start(self) -> None:
        """Begin: a thread that reads, one that redacts, one that encodes."""
        read: Pipe[_Item] = Pipe(self._run, _QUEUE)
        redacted: Pipe[_Pictured | Packet[Any] | _Copied | _Begin | _End] = Pipe(self._run, _QUEUE)
        self._reader = reader = VideoReader(self._path, self._info, threads=self._threads)
        self.rendered.times = {each.index: [] for each in reader.tracks}
        self.rendered.warnings += reader.dropped
        sink = None
        if self._target is not None:
            sink = VideoSink(
                self._target, reader, self._output, strip_metadata=self._options.strip_metadata,
                splice=self._splice, threads=self._threads,
            )  # fmt: skip
            self.rendered.warnings += sink.warnings

        def reading() -> None:
            for item in self._items(reader, sink):
                read.put(item)
            read.close()

        def redacting() -> None:
            for item in read:
                if isinstance(item, _Copied):
                    # not sooner: frames before these may still have been on their way here
                    self._findings[item.track.index].release(item.first + len(item.times))
                redacted.put(self._redacted(item) if isinstance(item, Frame) else item)
            redacted.close()

        def encoding() -> None:
            try:
                if sink is None:
                    for item in redacted:
                        self._write(item, None)
                else:
                    with sink:
                        for item in redacted:
                            self._write(item, sink)
            finally:
                if self._extras is not None:
                    self._extras.close()

        self._run.start("read-to-redact", reading)
        self._run.start("redact", redacting, may_be_left=True)
        self._run.start("encode", encoding)

    def close(self) -> None:
        """Close the source; once all threads have ended: some may be in the middle of a packet."""
        if self._reader is not None:
            self._reader.container.close()

    # --- reading ---

    def _items(self, reader: VideoReader, sink: VideoSink | None) -> Iterator[_Item]:
        tolerant = self._options.damaged_frames is DamagedFrames.BLACKEN
        decoders: dict[int, FrameDecoder] = {}
        groups: dict[int, _Groups] = {}
        for each in reader.tracks:
            decoders[each.index] = decoder = FrameDecoder(reader, each, tolerant=tolerant)
            if sink is not None and sink.can_splice(each):
                groups[each.index] = _Groups(each, decoder, self._findings[each.index], self._options)
        for track, packet in reader.packets():
            if track is None:
                yield packet
            elif track.index in groups:
                yield from groups[track.index].add(packet)
            else:
                yield from decoders[track.index].decode(packet)
        for index, decoder in decoders.items():
            yield from groups[index].end() if index in groups else decoder.decode(None)
            self.rendered.lost += decoder.lost

    # --- redacting ---

    def _redacted(self, frame: Frame) -> _Pictured:
        found = self._found(frame.track, frame.number, frame.picture.pts)
        findings = self._findings[frame.track.index]
        findings.release(frame.number)
        options, picture = self._options, frame.picture
        detections = self._with_masks(frame, found.detections)
        where = shapes(detections, frame.track.size_hw, options)
        changes = self._target is not None and (where or found.damaged)
        if changes:
            picture, form = _planar(picture, frame)
            wanted = not found.damaged and not options.debug and self._samples.wants()
            before = [each.copy() for each in frame_planes(picture, writable=False)] if wanted else []
            planes = frame_planes(picture)
            if found.damaged:
                _blacken(planes, form)
                self.rendered.blackened += 1
            else:
                seeds = [self._shape_seed(frame, detections, shape) for shape in where]
                redact_planes(planes, form, where, seeds, options, frame.track.orientation)
            if before:
                after = [each.copy() for each in planes]
                sample = Sample(before, after, picture.format.name, form, where, frame.track.orientation)
                self._samples.keep((frame.track.index, frame.number), sample)
            if options.debug:
                draw_planes(
                    planes, form, detections, where, frame.track.orientation, scores=options.score
                )  # fmt: skip
        return _Pictured(frame, picture, detections, where, found.damaged)

    def _found(self, track: VideoTrack, number: int, pts: int | None) -> Found:
        found = self._findings[track.index].at(number)
        if found is None or found.pts != pts:
            raise EncoderFailed(f"Frame {number} was another one when the video was read for the second time.")
        return found

    def _with_masks(self, frame: Frame, detections: Detections) -> Detections:
        if not len(detections) or self._options.bbox:
            return detections
        track = frame.track

        def rgb() -> NDArray[np.uint8]:
            return upright(frame.picture.to_ndarray(format="rgb24"), track.orientation)

        wanted = np.ones(len(detections), bool)
        if self._options.hide_gait:
            # the union of where a person was has no outline
            wanted &= detections.types != ObjectType.PERSON.number
        segmented = self._anonymizer.segmented(track.size_hw, rgb, detections, wanted)
        for mask in segmented.masks:
            if mask is not None and mask.source:
                self.rendered.mask_models[mask.source] = None
        return segmented

    def _shape_seed(self, frame: Frame, detections: Detections, shape: Shape) -> int:
        """The same for a track in all its frames: noise that changes could be averaged away."""
        track_id = int(detections.track_ids[shape.row])
        which = ("track", track_id) if track_id >= 0 else ("frame", frame.number, shape.row)
        digest = hashlib.blake2b(repr((self._seed, frame.track.index, *which)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    # --- writing ---

    def _write(self, item: _Pictured | Packet[Any] | _Copied | _Begin | _End, sink: VideoSink | None) -> None:
        if isinstance(item, _Pictured):
            frame = item.frame
            pts = frame.picture.pts or 0
            self._note(frame, item)
            if sink is not None:
                sink.encode(frame.track, item.picture, pts, frame.picture.duration)
            self._report(frame.track, frame.number, pts, item.detections, item.shapes, blackened=item.blackened)
        elif isinstance(item, _Copied):
            assert sink is not None
            for packet in item.packets:
                sink.copy(item.track, packet)
            for number, pts in enumerate(item.times, item.first):
                self._report(item.track, number, pts, Detections.empty(), ())
            self.rendered.copied += len(item.times)
        elif sink is None:
            return
        elif isinstance(item, _Begin):
            sink.begin_run(item.track, item.decode_times)
        elif isinstance(item, _End):
            sink.end_run(item.track)
        else:
            sink.copy(None, item)

    def _note(self, frame: Frame, item: _Pictured) -> None:
        rendered, found = self.rendered, item.detections
        rendered.redacted += len(item.shapes) > 0
        rendered.filled += int((found.sources == "tracker").sum())
        for row in range(len(found)):
            kind, track_id = found.object_type(row), int(found.track_ids[row])
            if track_id >= 0:
                rendered.tracks.setdefault(kind, set()).add(track_id)
            else:
                rendered.loose[kind] += 1

    def _report(
        self,
        track: VideoTrack,
        number: int,
        pts: int,
        detections: Detections,
        where: Sequence[Shape],
        *,
        blackened: bool = False,
    ) -> None:
        self.rendered.times[track.index].append(pts)
        if self._extras is not None:
            self._extras.write(track, number, pts, detections, where, blackened=blackened)


class Extras:
    """Metadata and masks of a video, written frame by frame.

    Args:
        metadata_path: a JSON array, an object for each frame.
        masks: writers of mask videos.
    """

    def __init__(
        self,
        metadata_path: Path,
        masks: Sequence[MaskWriter],
        tracks: Sequence[VideoTrack],
        options: Options,
        name: str,
    ) -> None:
        self._masks, self._options, self._name = masks, options, name
        self._several = len(tracks) > 1
        self._file: IO[str] = metadata_path.open("w")
        self._file.write("[")
        self._begun = False

    def write(
        self,
        track: VideoTrack,
        number: int,
        pts: int,
        detections: Detections,
        where: Sequence[Shape],
        *,
        blackened: bool,
    ) -> None:
        """The next frame's; blackened: all of it, as it could not be read whole."""
        for each in self._masks:
            each.write(track, pts, where, whole=blackened)
        frame = metadata.frame_metadata(
            self._name, number, float(pts * track.time_base), track.size_hw, detections, where, self._options
        )
        if blackened:
            frame["blackened"] = True
        if self._several:
            frame["stream"] = track.index
        self._file.write(",\n" if self._begun else "\n")
        json.dump(frame, self._file)
        self._begun = True

    def close(self) -> None:
        """Finish the files."""
        self._file.write("\n]\n")
        self._file.close()
        for each in self._masks:
            each.close()


class _Groups:
    """Sorts a track's packets into groups that are copied and groups that are decoded."""

    def __init__(self, track: VideoTrack, decoder: FrameDecoder, findings: Findings, options: Options) -> None:
        self._track, self._decoder, self._findings, self._options = track, decoder, findings, options
        self._group: list[Packet[Any]] = []
        self._first = 0
        self._decode_times: list[int] | None = None

    def add(self, packet: Packet[Any]) -> Iterator[_Item]:
        starts = packet.is_keyframe and is_closed_start(bytes(packet))
        if self._group and (starts or len(self._group) >= _LONGEST_GROUP):
            yield from self._settle(ends_closed=starts)
        self._group.append(packet)

    def end(self) -> Iterator[_Item]:
        if self._group:
            yield from self._settle(ends_closed=True)
        yield from self._stop_decoding()

    def _settle(self, *, ends_closed: bool) -> Iterator[_Item]:
        packets, self._group = self._group, []
        if any(each.pts is None or each.dts is None for each in packets):
            raise CannotSplice("packets without times")
        times = sorted(int(each.pts or 0) for each in packets)
        numbers = range(self._first, self._first + len(packets))
        self._first = numbers.stop
        # only a group that is one in itself, to the next: one that was cut short would leave the rest without a start
        clean = ends_closed and is_closed_start(bytes(packets[0])) and not any(each.is_corrupt for each in packets)
        found = [self._findings.at(number) for number in numbers]
        clean = clean and all(
            each is not None and each.pts == pts and not len(each.detections) and not each.damaged
            for each, pts in zip(found, times, strict=True)
        )
        if clean:
            yield from self._stop_decoding()
            if self._decoder.number != numbers.start:
                raise CannotSplice("packets that are not one frame each")
            self._decoder.pass_over(packets)
            yield _Copied(self._track, packets, numbers.start, times)
            return
        if self._decode_times is None:
            if not is_closed_start(bytes(packets[0])):
                raise CannotSplice("a stretch that does not begin with a key frame")
            self._decode_times = []
            yield _Begin(self._track, self._decode_times)
        self._decode_times += [int(each.dts or 0) for each in packets]
        for packet in packets:
            yield from self._decoder.decode(packet)

    def _stop_decoding(self) -> Iterator[_Item]:
        if self._decode_times is None:
            return
        yield from self._decoder.decode(None)
        self._decoder.restart()
        self._decode_times = None
        yield _End(self._track)


def _planar(picture: VideoFrame, frame: Frame) -> tuple[VideoFrame, PlaneFormat]:
    """A frame in planes, and how they are to be read; packed formats are laid out anew, the values stay."""
    form = plane_format(picture)
    if form is None:
        pts, duration = picture.pts, picture.duration
        picture = picture.reformat(format=planar_name(picture.format.name))
        picture.pts, picture.duration = pts, duration
        form = plane_format(picture)
    if form is None:
        raise EncoderFailed(f"Frames of the format {frame.picture.format.name} cannot be redacted.")
    return picture, form


def _blacken(planes: Sequence[NDArray[Any]], form: PlaneFormat) -> None:
    # there may be one more, of opacity
    for plane, black in zip(planes, form.black, strict=False):
        plane[...] = black
