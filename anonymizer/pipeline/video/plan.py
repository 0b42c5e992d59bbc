"""What is done with one video: all that is fixed before its first frame is analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from anonymizer.pipeline.detection.protocol import Detector
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.media_kinds import MediaInfo
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.proof.verification import Verification
from anonymizer.pipeline.results import VideoProgress
from anonymizer.pipeline.review.edits import AddedObject
from anonymizer.pipeline.review.selection import Selection
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.video.detection_queue import DetectionQueue
from anonymizer.pipeline.video.io.encoders import OutputPlan, plan_output
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.review.base import BaseFiles
from anonymizer.pipeline.video.thread_stages import StageThreads

__all__ = ["Hooks", "ResultLooks", "Reviewed", "VideoJob", "plan_job"]

#: how much of a file makes the seed of its noise, in bytes
_SEED_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Hooks:
    """What of the caller is called while the work goes on, about twice a second and in the calling thread.

    Attributes:
        progress: gets the progress; None: it is not reported.
        stop: returns True if the work shall end; None: it always goes on.
        looks: looks at the finished video; None: nobody does.
        keep: whether the detections of all frames are written into a file beside the result.
        review: what a person changed in an earlier result; None: the video is analysed.
    """

    progress: Callable[[VideoProgress], None] | None = None
    stop: Callable[[], bool] | None = None
    looks: ResultLooks | None = None
    keep: bool = False
    review: Reviewed | None = None


class ResultLooks(Protocol):
    """What looks at a finished video again, as `verify` asks for."""

    def look(self, job: VideoJob, on_frame: Callable[[int], None]) -> bool:
        """Look at the files of a job, and tell whether something was found that has to be redacted."""
        ...

    def follow(self, job: VideoJob, queues: Mapping[int, DetectionQueue], on_frame: Callable[[int], None]) -> None:
        """Add what was found to the detections, by stream index."""
        ...

    def finds(self) -> tuple[AddedObject, ...]:
        """What was found and is redacted too, in the order of their track ids."""
        ...

    def outcome(self, seconds: float) -> Verification:
        """What the looks showed, and how long they took."""
        ...

    def warnings(self) -> Iterator[str]:
        """What a user should know of it, a sentence each."""
        ...


class Reviewed(Protocol):
    """A review of an earlier result, whose kept detections take the place of the analysis."""

    @property
    def base(self) -> BaseFiles | None: ...
    @property
    def state(self) -> ReviewState: ...
    @property
    def types(self) -> set[ObjectType]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def next_track_id(self) -> int: ...

    def spared(self, stream: int, number: int, time_s: float, size_hw: tuple[int, int]) -> Detections:
        """Return what persons decided not to redact in a frame."""
        ...

    def select(self, objects: Detections) -> Selection:
        """Return how the objects of a frame are redacted."""
        ...

    def start(self, tracks: tuple[VideoTrack, ...], stages: StageThreads, queues: Mapping[int, DetectionQueue]) -> None:
        """Start the threads that put the objects of all frames into the queues, by stream index."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class VideoJob:
    """One video, and what is done with it. Every stage of the work reads it, and none changes it.

    Attributes:
        engine: makes detections and masks.
        source: path of the video.
        info: its format.
        tracks: its video tracks.
        folder: an existing folder, where the files of the result are written.
        name: of the video in its metadata.
        options: what is redacted, and how.
        object_types: what is detected.
        detectors: that are needed for it, all loaded.
        output: container and encoders of the result.
        threads: how many cores this process may use, for decoders, encoders and detectors.
        seed: secret number of this video, from which the noise of `blur` and `pixelate` is made.
        hooks: of the caller.
    """

    engine: Engine
    source: Path
    info: MediaInfo
    tracks: tuple[VideoTrack, ...]
    folder: Path
    name: str
    options: Options
    object_types: tuple[ObjectType, ...]
    detectors: tuple[Detector, ...]
    output: OutputPlan
    threads: int
    seed: int
    hooks: Hooks = field(default_factory=Hooks)

    @property
    def target(self) -> Path | None:
        """Path of the anonymised video; None: there is none (the method `detect`)."""
        is_written = self.options.method is not Method.DETECT
        return self.folder / f"anonymised{self.output.info.extension}" if is_written else None

    @property
    def detections(self) -> Path:
        """Path of the detections that are kept."""
        return self.folder / "detections.npz"

    def select(self, objects: Detections) -> Selection:
        """Return how the objects of a frame are redacted."""
        review = self.hooks.review
        return Selection.of_all(objects) if review is None else review.select(objects)

    def spared(self, stream: int, number: int, time_s: float, size_hw: tuple[int, int]) -> Detections:
        """Return what persons decided not to redact in a frame: a look at the result must not bring it back."""
        review = self.hooks.review
        return Detections.empty() if review is None else review.spared(stream, number, time_s, size_hw)

    @property
    def metadata(self) -> Path:
        """Path of the metadata."""
        return self.folder / "metadata.json"

    @property
    def binary_mask(self) -> Path | None:
        """Path of the video of binary masks; None: it is not wanted."""
        return self.folder / "binary-mask.mkv" if self.options.save_mask.binary else None

    @property
    def instance_mask(self) -> Path | None:
        """Path of the video of instance masks; None: it is not wanted."""
        return self.folder / "instance-mask.mkv" if self.options.save_mask.instance else None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are written."""
        kept = self.detections if self.hooks.keep else None
        wanted = (self.target, self.metadata, self.binary_mask, self.instance_mask, kept)
        return tuple(path for path in wanted if path is not None)

    @property
    def frames(self) -> int | None:
        """How many frames all tracks have together, as the file says; None: unknown."""
        totals = [track.frames for track in self.tracks]
        known = [total for total in totals if total]
        return sum(known) if len(known) == len(totals) else None


def plan_job(
    engine: Engine, source: Path, folder: Path, options: Options, *, name: str | None, threads: int, hooks: Hooks
) -> VideoJob:
    """Examine a video, load the models that it needs, and choose how the result is encoded.

    Args:
        engine: the models and limits.
        source: path of the video.
        folder: an existing folder, where the files of the result are written.
        options: what is redacted, and how.
        name: of the video in its metadata; None: the name of the file.
        threads: how many cores this process may use.
        hooks: of the caller.

    Raises:
        InvalidParameter: the result would replace the source, or the encoder does not work on this machine.
        BrokenMedia, TooLarge, UnsupportedMedia: the file is no video that is supported.
        ModelMissing, DetectorFailed: a model cannot be loaded.
    """
    object_types = options.object_types(tuple(engine.store.serves()))
    info = check_video(source, limits=engine.limits)
    # all models are loaded before there are threads
    detectors = engine.store.detectors(object_types)
    if not options.bbox:
        engine.store.segmenter()
    with VideoReader(source, info, threads=1) as reader:
        tracks, output = tuple(reader.tracks), plan_output(reader, options)
    job = VideoJob(
        engine=engine,
        source=source,
        info=info,
        tracks=tracks,
        folder=folder,
        name=name or source.name,
        options=options,
        object_types=tuple(object_types),
        detectors=tuple(detectors),
        output=output,
        threads=threads,
        seed=_seed(source, engine.noise_key),
        hooks=hooks,
    )
    if job.target is not None and job.target.resolve() == source.resolve():
        raise InvalidParameter("folder", folder, "another one than the video's: the result would replace it")
    return job


def _seed(path: Path, key: bytes) -> int:
    with path.open("rb") as file:
        digest = hashlib.blake2b(file.read(_SEED_BYTES), key=key, digest_size=8)
    return int.from_bytes(digest.digest(), "big")
