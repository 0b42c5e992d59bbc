"""Look again at a finished video: detectors run with half the thresholds on frames that are drawn by chance.

The frames are drawn from the checksum of the file. What is redacted in them is read from the metadata that are handed
over with the video, so that these are proven too. A find outside of the redacted pixels is followed through the source
by optical flow, forth and back, until it is lost. The video is rendered again with these objects.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray

from anonymizer.pipeline.audit.frame_drawing import Drawn, read_frames
from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.orientation import upright
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.proof.finds import are_spared, new_finds
from anonymizer.pipeline.proof.verification import LOOK_SHARE
from anonymizer.pipeline.tracking.boxes import ious
from anonymizer.pipeline.tracking.motion import MotionState, Observation, predict
from anonymizer.pipeline.tracking.optical_flow import Grey
from anonymizer.pipeline.video.frame_images import rgb_image
from anonymizer.pipeline.video.io.reader import VideoReader
from anonymizer.pipeline.video.io.tracks import DecodedFrame
from anonymizer.pipeline.video.plan import VideoJob

__all__ = ["FRAMES", "FrameFinds", "follow_finds", "look_at_frames"]

#: how many frames of each track are drawn
FRAMES = 24
#: Seconds and frames that a find is followed each way at most, and seconds that it goes on without optical flow.
_FOLLOW_S, _FOLLOW_FRAMES, _LOST_S = 4.0, 240, 0.5
#: long side in pixels of the images in which it is followed
_FLOW_SIDE = 480
#: share of its sides by which a box that is followed is enlarged on each side, because flow drifts
_DRIFT = 0.1
#: IoU from which a find is what is followed already
_SAME_IOU = 0.5

OnFrame = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FrameFinds:
    """What is still recognisable in one frame.

    Attributes:
        stream: index of the track's stream in the source.
        number: of the frame in its track, from 0.
        time_s: when it is shown, in seconds.
        finds: the objects; at least one.
    """

    stream: int
    number: int
    time_s: float
    finds: Detections


def look_at_frames(job: VideoJob, drawn: Drawn, on_frame: OnFrame) -> list[FrameFinds]:
    """Look at the drawn frames of a finished video.

    Args:
        job: the work; its files are finished.
        drawn: by stream index in the result, the numbers of the frames.
        on_frame: called at each decoded frame with the number of frames so far.

    Returns:
        The frames in which something is recognisable outside of the redacted pixels.

    Raises:
        AnonymizerError: the look failed: there is no result.
    """
    assert job.target is not None
    streams = [track.index for track in job.tracks]
    by_result = dict(zip(sorted(drawn), streams, strict=True))
    wanted = {(by_result[index], number) for index, numbers in drawn.items() for number in numbers}
    recorded = _read_metadata(job.metadata, wanted, streams[0])
    found = []
    for frame, image in read_frames(job.target, job.output.info, drawn, on_frame=on_frame):
        stream = by_result[frame.track.index]
        redacted, objects = _redacted(recorded[stream, frame.number], image.shape[:2])
        (seen,) = job.engine.detect([image], job.object_types, job.options.video_format)
        finds = _new(job.engine, image, seen, redacted, objects, job.options)
        finds = finds[~are_spared(finds, job.spared(stream, frame.number, frame.time_s, image.shape[:2]))]
        if len(finds):
            sources = np.full(len(finds), Source.VERIFICATION.value)
            found.append(FrameFinds(stream, frame.number, frame.time_s, replace(finds, sources=sources)))
    return found


def _new(
    engine: Engine,
    image: NDArray[np.uint8],
    seen: Detections,
    redacted: NDArray[np.bool_],
    objects: Detections,
    options: Options,
) -> Detections:
    """The finds that are neither below half their threshold nor redacted, without masks."""
    finds = seen[over_threshold(seen, options, share=LOOK_SHARE)]
    finds = finds[new_finds(finds, redacted, objects, options)]
    if len(finds) and not options.bbox:
        masked = engine.add_masks(redacted.shape, lambda: image, finds, np.ones(len(finds), bool))
        finds = finds[new_finds(masked, redacted, objects, options)]
    return finds


def _read_metadata(path: Path, wanted: set[tuple[int, int]], only_stream: int) -> dict[tuple[int, int], Any]:
    """The metadata of some frames. They have a line each, so that not all of them are in memory."""
    found = {}
    with path.open() as file:
        for line in file:
            text = line.strip().rstrip(",")
            if text.startswith("{"):
                frame = json.loads(text)
                key = frame.get("stream", only_stream), frame["id"]
                if key in wanted:
                    found[key] = frame
    return found


def _redacted(frame: Mapping[str, Any], size_hw: tuple[int, ...]) -> tuple[NDArray[np.bool_], Detections]:
    """The pixels that are redacted in a frame, and its objects."""
    redacted = np.full(size_hw, bool(frame.get("blackened")))
    rows = [row for row in frame["detections"] if row["is_anonymised"] and row["mask_rle"] is not None]
    for row in rows:
        redacted |= coco.decode({**row["mask_rle"], "counts": row["mask_rle"]["counts"].encode()}).astype(bool)
    objects = Detections(
        np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4),
        np.array([row["score"] for row in rows], np.float32),
        np.array([ObjectType(row["type_label"]).number for row in rows], np.uint8),
        np.array([row["model"] for row in rows], np.str_),
    )
    return redacted, objects


def follow_finds(
    source: Path, info: MediaInfo, found: Sequence[FrameFinds], first_track_id: int, on_frame: OnFrame
) -> Iterator[tuple[int, int, Detections]]:
    """Follow finds through the source, forth and back.

    Args:
        source: path of the source.
        info: its format.
        found: what is followed, and from where.
        first_track_id: of the first find; the others get the next ones.
        on_frame: called at each decoded frame with the number of frames so far.

    Yields:
        Stream index, number of the frame, and the objects to redact there; a frame may come several times.

    Raises:
        AnonymizerError: the file cannot be read.
    """
    starts = {(each.stream, each.number): each.finds for each in found}
    paths: dict[int, _Paths] = {}
    next_id = first_track_id
    with VideoReader(source, info, threads=0) as reader:
        for count, frame in enumerate(reader.frames(tolerate_damage=True), 1):
            on_frame(count)
            track = paths.setdefault(frame.track.index, _Paths())
            yield from ((frame.track.index, *each) for each in track.go_on(frame))
            finds = starts.get((frame.track.index, frame.number))
            if finds is not None:
                ids = np.arange(next_id, next_id + len(finds))
                next_id += len(finds)
                yield from ((frame.track.index, *each) for each in track.begin(replace(finds, track_ids=ids)))


@dataclass(slots=True)
class _Path:
    """One find on its way in one direction of time."""

    state: MotionState
    find: Detections
    frames: int = 0
    lost_s: float | None = None

    def goes_on(self, size_hw: tuple[int, int]) -> bool:
        """Whether it is still there, as far as can be known."""
        if not self.state.confirmed and self.lost_s is None:
            self.lost_s = self.state.unobserved_s
        lost = 0.0 if self.lost_s is None else self.state.unobserved_s - self.lost_s
        too_far = self.state.unobserved_s > _FOLLOW_S or self.frames > _FOLLOW_FRAMES
        return lost <= _LOST_S and not too_far and self.state.is_visible(size_hw)

    def begin_anew(self, state: MotionState) -> None:
        """Go on from another place, where it was seen again."""
        self.state, self.frames, self.lost_s = state, 0, None

    def object(self) -> Detections:
        """What is redacted: the box, a little larger."""
        x1, y1, x2, y2 = self.state.box
        across, down = (x2 - x1) * _DRIFT, (y2 - y1) * _DRIFT
        return replace(self.find, boxes=np.array([[x1 - across, y1 - down, x2 + across, y2 + down]], np.float32))


class _Paths:
    """The finds of one track, and its last frames as small grey images."""

    def __init__(self) -> None:
        self._before: deque[tuple[int, float, Grey]] = deque(maxlen=_FOLLOW_FRAMES)
        self._ahead: list[_Path] = []
        self._reformatter = VideoReformatter()
        self._size_hw, self._scale = (1, 1), (1.0, 1.0)

    def go_on(self, frame: DecodedFrame) -> Iterator[tuple[int, Detections]]:
        """Take the next frame, and move what is followed to it."""
        track = frame.track
        shrink = min(_FLOW_SIDE / max(track.size_wh), 1.0)
        width, height = (max(round(side * shrink), 1) for side in track.size_wh)
        image = upright(rgb_image(frame.picture, (width, height), self._reformatter), track.orientation)
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), np.uint8)
        self._size_hw = track.size_hw
        self._scale = grey.shape[1] / track.size_hw[1], grey.shape[0] / track.size_hw[0]
        if self._ahead:
            yield from self._step(self._ahead, self._before[-1][2], (frame.number, frame.time_s, grey))
        self._before.append((frame.number, frame.time_s, grey))

    def begin(self, finds: Detections) -> Iterator[tuple[int, Detections]]:
        """Redact finds in the last frame, go back from there, and be ready to go on."""
        number, time_s, now = self._before[-1]
        back = []
        for row in range(len(finds)):
            find, still = finds[[row]], np.zeros(2, np.float32)
            seen = Observation(number, time_s, find.boxes[0], float(find.scores[0]), str(find.models[0]))
            followed = self._same(find)
            if followed is None:
                followed = _Path(MotionState.from_observation(seen, still), find)
                self._ahead.append(followed)
                back.append(_Path(MotionState.from_observation(seen, still), find))
            else:
                # followed until here: it goes on from where it was seen
                followed.begin_anew(MotionState.from_observation(seen, followed.state.velocity))
            yield number, replace(find, track_ids=followed.find.track_ids)
        for earlier in list(self._before)[-2::-1]:
            if not back:
                break
            yield from self._step(back, now, earlier)
            now = earlier[2]

    def _same(self, find: Detections) -> _Path | None:
        """What is followed already and has the place and the type of a find."""
        for path in self._ahead:
            if path.find.types[0] == find.types[0] and ious(path.state.box, find.boxes)[0] >= _SAME_IOU:
                return path
        return None

    def _step(
        self, paths: list[_Path], before: Grey, after: tuple[int, float, Grey]
    ) -> Iterator[tuple[int, Detections]]:
        number, time_s, grey = after
        predict([path.state for path in paths], before, grey, time_s, self._scale)
        for path in paths:
            path.frames += 1
        paths[:] = [path for path in paths if path.goes_on(self._size_hw)]
        for path in paths:
            yield number, path.object()
