"""The second reading of a video: redact each frame, encode it, and write its masks and metadata.

Three threads work on it: one reads packets and decodes, one redacts, one encodes and writes. Groups of pictures without
any redaction pass through as packets (`groups`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.errors import BrokenMedia, EncoderFailed
from anonymizer.pipeline.options.options import DamagedFrames
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs.overlay_yuv import draw_planes
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.redaction.yuv import frame_planes, redact_planes
from anonymizer.pipeline.review.selection import Selection, effect_groups
from anonymizer.pipeline.tracking.outlines import without_covered_additions
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.frame_images import blacken, rgb_image, to_planar
from anonymizer.pipeline.video.frame_outputs import FrameOutputs
from anonymizer.pipeline.video.groups import BeginEncoding, CopiedGroup, EndEncoding, GroupItem, GroupSorter
from anonymizer.pipeline.video.io.codecs.fingerprints import fingerprint
from anonymizer.pipeline.video.io.encoders import OutputPlan
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import DecodedFrame, VideoTrack
from anonymizer.pipeline.video.io.writer import VideoWriter
from anonymizer.pipeline.video.plan import VideoJob
from anonymizer.pipeline.video.review.base import BasePackets
from anonymizer.pipeline.video.thread_stages import StageQueue, StageThreads
from anonymizer.pipeline.video.verify_file import FrameSample, FrameSamples
from anonymizer.pipeline.video.verify_rendering import SourceCrops, check_blackened

__all__ = ["RenderStats", "Renderer"]

#: how many items wait between two stages
_QUEUE_SIZE = 4
#: how the metadata name outlines that no model made
BOX, ELLIPSE = "box", "ellipse"


@dataclass(slots=True)
class RenderStats:
    """What a rendering did, in numbers and by stream index.

    Attributes:
        times: by stream index, the pts of all written frames, copied ones too, in order of presentation.
        copied: frames that were copied without a change.
        redacted: frames in which something was redacted.
        filled: boxes that the tracker added where no detector found the object.
        blackened: frames that were blackened because they could not be read whole.
        lost: packets that gave no frame.
        track_ids: by object type, the ids of the tracks that were redacted.
        untracked: by object type, how many redacted objects belong to no track.
        mask_models: the models that made masks, as keys in order.
        warnings: what could not be kept, a sentence each.
    """

    times: dict[int, list[int]] = field(default_factory=dict)
    copied: int = 0
    redacted: int = 0
    filled: int = 0
    blackened: int = 0
    lost: int = 0
    track_ids: dict[ObjectType, set[int]] = field(default_factory=dict)
    untracked: Counter[ObjectType] = field(default_factory=Counter)
    mask_models: dict[str, None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """How many frames were written."""
        return sum(len(times) for times in self.times.values())


@dataclass(frozen=True, slots=True)
class _RedactedFrame:
    """A frame on its way to the encoder.

    Attributes:
        frame: as it was decoded.
        picture: what is encoded.
        selection: its objects, and how they are redacted.
        regions: where pixels were changed.
    """

    frame: DecodedFrame
    picture: VideoFrame
    selection: Selection
    regions: Sequence[RedactionRegion]
    blackened: bool


_OutputItem: TypeAlias = "_RedactedFrame | Packet[Any] | CopiedGroup | BeginEncoding | EndEncoding"


class Renderer:
    """One rendering of a video. There are several with `keep_bit_rate`, or where copied groups do not fit.

    Args:
        job: what is redacted, how, and where the result is written.
        stages: the threads are started in it.
        queues: by stream index, the detections of each frame.
        output: container and encoders of this rendering.
        splice: whether groups of pictures without any redaction may be copied.
        with_outputs: whether metadata and masks are written too; an earlier rendering may have done that.

    Attributes:
        stats: what was done so far.
        samples: some redacted frames, which are compared with the result later.
    """

    def __init__(
        self,
        job: VideoJob,
        stages: StageThreads,
        queues: Mapping[int, DetectionQueue],
        output: OutputPlan,
        *,
        splice: bool,
        with_outputs: bool,
    ) -> None:
        self._job, self._options = job, job.options
        self._stages, self._queues, self._output = stages, queues, output
        self._splice, self._with_outputs = splice, with_outputs
        self.samples = FrameSamples()
        self.stats = RenderStats()
        self._reformatter = VideoReformatter()
        self._reader: VideoReader | None = None
        self._frame_outputs: FrameOutputs | None = None
        self._base: BasePackets | None = None

    def start(self) -> None:
        """Start the threads: one reads and decodes, one redacts, one encodes.

        Raises:
            AnonymizerError: the source cannot be opened, or the result cannot be begun.
        """
        decoded: StageQueue[GroupItem] = StageQueue(self._stages, _QUEUE_SIZE)
        redacted: StageQueue[_OutputItem] = StageQueue(self._stages, _QUEUE_SIZE)
        self._reader = reader = VideoReader(self._job.source, self._job.info, threads=self._job.threads)
        self.stats.times = {track.index: [] for track in reader.tracks}
        self.stats.warnings += reader.dropped
        writer = self._open_writer(reader)
        self._base = self._open_base(reader, writer)

        def decode() -> None:
            for item in self._read(reader, writer):
                decoded.put(item)
            decoded.close()

        def redact() -> None:
            for item in decoded:
                if isinstance(item, CopiedGroup):
                    # not sooner: earlier frames may still have been on their way to this stage
                    self._queues[item.track.index].release(item.first + len(item.times))
                redacted.put(self._redact(item) if isinstance(item, DecodedFrame) else item)
            redacted.close()

        def encode() -> None:
            # opened here: where the threads do not start, nobody would close them
            if self._with_outputs:
                self._frame_outputs = FrameOutputs(self._job)
            try:
                with writer or nullcontext():
                    for item in redacted:
                        self._write(item, writer)
                # those of the finished file; the others are there twice, which does not count
                self.stats.warnings += [] if writer is None else writer.warnings
            finally:
                if self._frame_outputs is not None:
                    self._frame_outputs.close()

        self._stages.start("decode-to-redact", decode)
        # making masks may take seconds with large models
        self._stages.start("redact", redact, may_be_left=True)
        self._stages.start("encode", encode)

    def close(self) -> None:
        """Close the source. Call it when the threads have ended: they may be in the middle of a packet."""
        if self._reader is not None:
            self._reader.container.close()
        if self._base is not None:
            self._base.close()

    def _open_writer(self, reader: VideoReader) -> VideoWriter | None:
        if self._job.target is None:
            return None
        writer = VideoWriter(
            self._job.target, reader, self._output, keep_metadata=self._options.keep_metadata,
            splice=self._splice, threads=self._job.threads,
        )  # fmt: skip
        self.stats.warnings += writer.warnings
        return writer

    def _open_base(self, reader: VideoReader, writer: VideoWriter | None) -> BasePackets | None:
        """The packets of the version that a review changes, if they may stand in the same track as new ones."""
        review = self._job.hooks.review
        if writer is None or review is None or review.base is None or len(reader.tracks) != 1:
            return None
        packets, header = BasePackets(review.base), writer.header(reader.tracks[0])
        if header is not None and packets.header == header:
            return packets
        packets.close()
        return None

    # --- reading ---

    def _read(self, reader: VideoReader, writer: VideoWriter | None) -> Iterator[GroupItem]:
        """Frames of groups that are redacted, and everything else as packets."""
        tolerate_damage = self._options.damaged_frames is DamagedFrames.BLACKEN
        decoders: dict[int, FrameDecoder] = {}
        groups: dict[int, GroupSorter] = {}
        for track in reader.tracks:
            decoder = FrameDecoder(reader.stream(track), track, tolerate_damage=tolerate_damage)
            decoders[track.index] = decoder
            if writer is not None and writer.can_splice(track):
                groups[track.index] = GroupSorter(track, decoder, self._queues[track.index], self._base)
        for video_track, packet in reader.packets():
            if video_track is None:
                yield packet
            elif video_track.index in groups:
                yield from groups[video_track.index].add(packet)
            else:
                yield from decoders[video_track.index].decode(packet)
        for index, decoder in decoders.items():
            yield from groups[index].end() if index in groups else decoder.decode(None)
            self.stats.lost += decoder.lost

    # --- redacting ---

    def _redact(self, frame: DecodedFrame) -> _RedactedFrame:
        track, options, picture = frame.track, self._options, frame.picture
        queued = self._frame_detections(frame)
        self._queues[track.index].release(frame.number)
        detections = self._with_masks(frame, queued.detections)
        selection = self._job.select(detections)
        regions = selection.regions(track.size_hw, options)
        if self._job.target is not None and (regions or queued.damaged):
            picture, form = to_planar(picture, frame)
            wanted = not queued.damaged and not options.debug and self.samples.wants_next()
            planes = frame_planes(picture)
            before = planes[0].copy() if wanted else None
            if queued.damaged:
                blacken(planes, form)
                check_blackened(planes, form, number=frame.number)
                self.stats.blackened += 1
            else:
                for each, group in effect_groups(regions, selection.changes, options):
                    crops = SourceCrops(planes, form, group, track.orientation)
                    seeds = [self._noise_seed(frame, detections, region) for region in group]
                    redact_planes(planes, form, group, seeds, each, track.orientation)
                    crops.check(planes, each, number=frame.number)
            if before is not None:
                sample = FrameSample(before, planes[0].copy(), picture.format.name, form, regions, track.orientation)
                self.samples.keep((track.index, frame.number), sample)
            if options.debug:
                draw_planes(planes, form, detections, regions, track.orientation, scores=options.score)
        return _RedactedFrame(frame, picture, selection, regions, queued.damaged)

    def _frame_detections(self, frame: DecodedFrame) -> FrameDetections:
        queued = self._queues[frame.track.index].wait_for(frame.number)
        if queued is None or queued.pts != frame.picture.pts:
            raise EncoderFailed(f"Frame {frame.number} was another one when the video was read for the second time.")
        if queued.damaged or queued.fingerprint == fingerprint(frame.picture):
            return queued
        # a decoder did not fill all of the frame: it holds memory that nobody analysed
        if self._options.damaged_frames is not DamagedFrames.BLACKEN:
            raise BrokenMedia(
                f"Frame {frame.number} of the video (at {frame.time_s:.2f} s) cannot be read whole: its pixels differ "
                "each time; damaged-frames=blacken blackens such frames."
            )
        return replace(queued, damaged=True)

    def _with_masks(self, frame: DecodedFrame, detections: Detections) -> Detections:
        if not len(detections) or self._options.bbox:
            return detections
        track = frame.track

        def rgb() -> NDArray[np.uint8]:
            return upright(rgb_image(frame.picture, track.size_wh, self._reformatter), track.orientation)

        wanted = np.ones(len(detections), bool)
        if self._options.hide_gait:
            # persons are covered by the union of where they were, and that has no outline
            wanted &= detections.types != ObjectType.PERSON.number
        segmented = self._job.engine.add_masks(track.size_hw, rgb, detections, wanted)
        for mask in segmented.masks:
            if mask is not None and mask.source:
                self.stats.mask_models[mask.source] = None
        return without_covered_additions(segmented, track.size_hw, self._options)

    def _noise_seed(self, frame: DecodedFrame, detections: Detections, region: RedactionRegion) -> int:
        """The same seed for a track in all its frames: noise that changes could be averaged away."""
        track_id = int(detections.track_ids[region.row])
        which = ("track", track_id) if track_id >= 0 else ("frame", frame.number, region.row)
        digest = hashlib.blake2b(repr((self._job.seed, frame.track.index, *which)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big")

    # --- writing ---

    def _write(self, item: _OutputItem, writer: VideoWriter | None) -> None:
        if isinstance(item, _RedactedFrame):
            frame = item.frame
            pts = frame.picture.pts or 0
            self._count(item)
            if writer is not None:
                writer.encode(frame.track, item.picture, pts, frame.picture.duration)
            self._record(frame.track, frame.number, pts, item.selection, item.regions, blackened=item.blackened)
        elif isinstance(item, CopiedGroup):
            assert writer is not None
            for packet in item.packets:
                writer.copy(item.track, packet)
            for number, pts in enumerate(item.times, item.first):
                if item.reused:
                    self._reuse(item.track, number, pts)
                else:
                    self._record(item.track, number, pts, Selection.of_all(Detections.empty()), ())
            self.stats.copied += len(item.times)
        elif writer is None:
            return
        elif isinstance(item, BeginEncoding):
            writer.begin_encoding(item.track, item.decode_times)
        elif isinstance(item, EndEncoding):
            writer.end_encoding(item.track)
        else:
            writer.copy(None, item)

    def _count(self, item: _RedactedFrame) -> None:
        stats, detections = self.stats, item.selection.redacted
        stats.redacted += len(item.regions) > 0
        stats.filled += int((detections.sources == "tracker").sum())
        for row in range(len(detections)):
            object_type, track_id = detections.object_type(row), int(detections.track_ids[row])
            if track_id >= 0:
                stats.track_ids.setdefault(object_type, set()).add(track_id)
            else:
                stats.untracked[object_type] += 1

    def _record(
        self,
        track: VideoTrack,
        number: int,
        pts: int,
        selection: Selection,
        regions: Sequence[RedactionRegion],
        *,
        blackened: bool = False,
    ) -> None:
        self.stats.times[track.index].append(pts)
        if self._frame_outputs is not None:
            self._frame_outputs.write(track, number, pts, selection, regions, blackened=blackened)

    def _reuse(self, track: VideoTrack, number: int, pts: int) -> None:
        """Copy the metadata and the masks of a frame from the version that a review changes, and count its objects."""
        self.stats.times[track.index].append(pts)
        if self._frame_outputs is None:
            return
        rows = self._frame_outputs.reuse(track, number, pts)["detections"]
        redacted = [row for row in rows if row["is_anonymised"]]
        self.stats.redacted += len(redacted) > 0
        self.stats.filled += sum(row["source"] == Source.TRACKER for row in redacted)
        for row in redacted:
            object_type = ObjectType(row["type_label"])
            if row["track_id"] is None:
                self.stats.untracked[object_type] += 1
            else:
                self.stats.track_ids.setdefault(object_type, set()).add(row["track_id"])
            if row["mask_source"] not in (None, BOX, ELLIPSE, "", Source.CALLER):
                self.stats.mask_models[row["mask_source"]] = None
