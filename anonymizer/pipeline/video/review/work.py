"""The work on one review of a video: the kept detections take the place of the first reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.review.selection import Selection
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.review.tracks import TrackReview, same_objects
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.review.base import BaseFiles
from anonymizer.pipeline.video.review.candidates import taken_candidates
from anonymizer.pipeline.video.review.follow import follow_objects
from anonymizer.pipeline.video.review.follow_report import follow_report
from anonymizer.pipeline.video.review.kept import KeptVideo
from anonymizer.pipeline.video.thread_stages import StageThreads

__all__ = ["VideoReview", "plan_review"]


@dataclass(frozen=True, slots=True)
class VideoReview:
    """A review of one video.

    Attributes:
        kept: the detections of all frames.
        before: the version that was reviewed.
        after: the version that is rendered.
        base: the files of the version that was reviewed; None: everything is rendered anew.
        followed: how far each object was followed, see `follow_report`.
    """

    kept: KeptVideo
    before: TrackReview
    after: TrackReview
    base: BaseFiles | None = None
    followed: tuple[dict[str, Any], ...] = ()

    @property
    def state(self) -> ReviewState:
        """What persons changed, up to the version that is rendered."""
        return self.after.state

    @property
    def types(self) -> set[ObjectType]:
        """The types of objects that persons added."""
        return self.after.types

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of the objects that were followed."""
        return tuple(each["warning"] for each in self.followed if each["warning"])

    def select(self, objects: Detections) -> Selection:
        """Return how the objects of a frame are redacted."""
        return self.after.select(objects)

    @property
    def next_track_id(self) -> int:
        """A track id above those of all objects of the version."""
        return self.kept.next_id + len(self.state.added)

    def spared(self, stream: int, number: int, time_s: float, size_hw: tuple[int, int]) -> Detections:
        """Return what persons decided not to redact in a frame.

        Args:
            stream: index of its track in the source.
            number: of the frame.
            time_s: when it is shown, in seconds.
            size_hw: height and width of the upright frame in pixels.
        """
        kept, free = self.kept.tracks[stream], self.state.dropped | self.state.visible
        ids = {key for key in kept.candidates.rows() if f"t{key}" in free}
        objects = kept.frame(number).detections
        if ids:
            candidates = kept.candidates.objects(ids, kept.times)
            objects = Detections.merge([objects, candidates.get(number, Detections.empty())])
        return self.after.spared(objects, number, time_s, size_hw)

    def start(self, tracks: tuple[VideoTrack, ...], stages: StageThreads, queues: Mapping[int, DetectionQueue]) -> None:
        """Start a thread for each track that puts the objects of all frames into its queue.

        Args:
            tracks: of the source.
            stages: the threads are started in it.
            queues: by stream index.

        Raises:
            BrokenMedia: the kept detections are those of another file.
        """
        if {track.index for track in tracks} != self.kept.tracks.keys():
            raise BrokenMedia("The kept detections are those of another video.")

        def put(track: VideoTrack) -> None:
            for frame in self._frames(track):
                queues[track.index].put(frame)
            queues[track.index].end()

        for track in tracks:
            stages.start("track", lambda track=track: put(track))  # type: ignore[misc]

    def _frames(self, track: VideoTrack) -> Iterator[FrameDetections]:
        versions = [(each, self._candidates(track, each.state)) for each in (self.before, self.after)]
        for number, frame in enumerate(self.kept.frames(track, self.after.options.regions)):
            time_s = float(frame.pts * track.time_base)
            before, after = (
                each.apply(frame.detections, number, time_s, track.size_hw, taken.get(number))
                for each, taken in versions
            )
            same = self.base is not None and same_objects(self.before.select(before), self.after.select(after))
            yield replace(frame, detections=after, same=same and not frame.damaged)

    def _candidates(self, track: VideoTrack, state: ReviewState) -> dict[int, Detections]:
        """The candidates that a version takes, by number of the frame."""
        kept = self.kept.tracks[track.index]
        ids = taken_candidates(kept.candidates, state)
        return kept.candidates.objects(ids, kept.times) if ids else {}


def plan_review(
    source: tuple[Path, MediaInfo],
    kept: KeptVideo,
    states: tuple[ReviewState, ReviewState],
    options: Options,
    base: BaseFiles | None = None,
    on_frame: Callable[[int], None] = lambda _: None,
) -> VideoReview:
    """Plan the rendering of a review, and follow what has to be followed.

    Args:
        source: path and format of the source.
        kept: the detections of all frames.
        states: of the version that was reviewed, and of the one that is rendered.
        options: of the request.
        base: the files of the version that was reviewed. Default: everything is rendered anew.
        on_frame: called at each frame in which something is followed; an error that it raises ends the work.

    Raises:
        AnonymizerError: the source cannot be read.
    """
    wanted = {
        number: each
        for number, each in enumerate(states[1].added)
        if each.follow is not None and f"a{number}" not in states[1].dropped
    }
    followed = follow_objects(*source, wanted, on_frame) if wanted else {}
    best = kept.best_scores()
    boxes = {number: path.boxes for number, path in followed.items()}
    before, after = (TrackReview(state, state.options(options), kept.next_id, best, boxes) for state in states)
    reports = (follow_report(wanted[number], path, kept.next_id + number) for number, path in followed.items())
    return VideoReview(kept, before, after, base, tuple(reports))
