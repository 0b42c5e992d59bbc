"""The second reading of a video: redact, encode, and write masks and metadata frame by frame."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import EncoderFailed
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.options import DamagedFrames, Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs.overlay_yuv import draw_planes
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.redaction.yuv import PlaneFormat, frame_planes, planar_name, plane_format, redact_planes
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.frame_outputs import FrameOutputs
from anonymizer.pipeline.video.groups import BeginEncoding, CopiedGroup, EndEncoding, GroupItem, GroupSorter
from anonymizer.pipeline.video.io.encoders import Output
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import Frame, VideoTrack
from anonymizer.pipeline.video.io.writer import VideoSink
from anonymizer.pipeline.video.thread_stages import Pipe, Run
from anonymizer.pipeline.video.verify_file import Sample, Samples

__all__ = ["Rendered", "Rendering"]

#: frames between two stages
_QUEUE = 4


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
    regions: Sequence[RedactionRegion]
    blackened: bool


class Rendering:
    """One rendering of a video; with `keep_bit_rate` there are several.

    Args:
        target: the result; None: none is written (the method `detect`).
        extras: where metadata and masks go; None: they are there already.
        samples: collects what the result is compared with.
    """

    def __init__(
        self,
        engine: Engine,
        path: Path,
        info: MediaInfo,
        run: Run,
        findings: dict[int, DetectionQueue],
        options: Options,
        output: Output,
        *,
        target: Path | None,
        extras: FrameOutputs | None,
        samples: Samples,
        seed: int,
        name: str,
        splice: bool,
        threads: int,
    ) -> None:
        self._engine, self._path, self._info, self._run = engine, path, info, run
        self._findings, self._options, self._output = findings, options, output
        self._target, self._extras, self._samples = target, extras, samples
        self._seed, self._name, self._splice, self._threads = seed, name, splice, threads
        self.rendered = Rendered()
        self._reader: VideoReader | None = None

    def start(self) -> None:
        """Begin: a thread that reads, one that redacts, one that encodes."""
        read: Pipe[GroupItem] = Pipe(self._run, _QUEUE)
        redacted: Pipe[_Pictured | Packet[Any] | CopiedGroup | BeginEncoding | EndEncoding] = Pipe(self._run, _QUEUE)
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
                if isinstance(item, CopiedGroup):
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

    def _items(self, reader: VideoReader, sink: VideoSink | None) -> Iterator[GroupItem]:
        tolerant = self._options.damaged_frames is DamagedFrames.BLACKEN
        decoders: dict[int, FrameDecoder] = {}
        groups: dict[int, GroupSorter] = {}
        for each in reader.tracks:
            decoders[each.index] = decoder = FrameDecoder(reader.stream(each), each, tolerant=tolerant)
            if sink is not None and sink.can_splice(each):
                groups[each.index] = GroupSorter(each, decoder, self._findings[each.index])
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
        where = redaction_regions(detections, frame.track.size_hw, options)
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

    def _found(self, track: VideoTrack, number: int, pts: int | None) -> FrameDetections:
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
        segmented = self._engine.add_masks(track.size_hw, rgb, detections, wanted)
        for mask in segmented.masks:
            if mask is not None and mask.source:
                self.rendered.mask_models[mask.source] = None
        return segmented

    def _shape_seed(self, frame: Frame, detections: Detections, shape: RedactionRegion) -> int:
        """The same for a track in all its frames: noise that changes could be averaged away."""
        track_id = int(detections.track_ids[shape.row])
        which = ("track", track_id) if track_id >= 0 else ("frame", frame.number, shape.row)
        digest = hashlib.blake2b(repr((self._seed, frame.track.index, *which)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    # --- writing ---

    def _write(
        self, item: _Pictured | Packet[Any] | CopiedGroup | BeginEncoding | EndEncoding, sink: VideoSink | None
    ) -> None:
        if isinstance(item, _Pictured):
            frame = item.frame
            pts = frame.picture.pts or 0
            self._note(frame, item)
            if sink is not None:
                sink.encode(frame.track, item.picture, pts, frame.picture.duration)
            self._report(frame.track, frame.number, pts, item.detections, item.regions, blackened=item.blackened)
        elif isinstance(item, CopiedGroup):
            assert sink is not None
            for packet in item.packets:
                sink.copy(item.track, packet)
            for number, pts in enumerate(item.times, item.first):
                self._report(item.track, number, pts, Detections.empty(), ())
            self.rendered.copied += len(item.times)
        elif sink is None:
            return
        elif isinstance(item, BeginEncoding):
            sink.begin_run(item.track, item.decode_times)
        elif isinstance(item, EndEncoding):
            sink.end_run(item.track)
        else:
            sink.copy(None, item)

    def _note(self, frame: Frame, item: _Pictured) -> None:
        rendered, found = self.rendered, item.detections
        rendered.redacted += len(item.regions) > 0
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
        where: Sequence[RedactionRegion],
        *,
        blackened: bool = False,
    ) -> None:
        self.rendered.times[track.index].append(pts)
        if self._extras is not None:
            self._extras.write(track, number, pts, detections, where, blackened=blackened)


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
