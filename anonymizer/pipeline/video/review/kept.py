"""The final detections of a video in one file, from which it is rendered again without detecting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType, Source
from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.options.drawn import DrawnRegion
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.redaction.drawn import FIRST_TRACK, drawn_objects
from anonymizer.pipeline.video.detection_queue import DetectionQueue, FrameDetections
from anonymizer.pipeline.video.io.tracks import VideoTrack
from anonymizer.pipeline.video.review.candidates import CandidateLinker, CandidateTracks, uncovered

__all__ = ["KeptTrack", "KeptVideo"]

_COLUMNS = ("boxes", "scores", "types", "models", "sources", "track_ids")
_OF_FRAMES = ("pts", "damaged", "fingerprints", "starts")
_FAINT = ("numbers", "times", "least")


@dataclass(frozen=True, slots=True)
class KeptTrack:
    """The detections of all frames of one video track.

    Attributes:
        pts: (n,) int64, when each frame is shown, in the time base of the track.
        times: (n,) float64, the same in seconds; empty in a file of an earlier version, which has no candidates.
        damaged: (n,) bool, which frames could not be read whole.
        fingerprints: (n,) uint32, of the pixels that were analysed.
        starts: (n + 1,) int64, the row of the first object of each frame.
        objects: of all frames, one after the other. Regions of the request are not among them.
        candidates: what stayed below the thresholds.
    """

    pts: NDArray[np.int64]
    times: NDArray[np.float64]
    damaged: NDArray[np.bool_]
    fingerprints: NDArray[np.uint32]
    starts: NDArray[np.int64]
    objects: Detections
    candidates: CandidateTracks

    def frame(self, number: int) -> FrameDetections:
        """Return what is known of a frame."""
        rows = slice(int(self.starts[number]), int(self.starts[number + 1]))
        return FrameDetections(
            int(self.pts[number]), self.objects[rows], bool(self.damaged[number]), int(self.fingerprints[number])
        )

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True)
class KeptVideo:
    """The detections of all tracks of a video.

    Attributes:
        tracks: by stream index.
        next_id: a track id that is above those of all objects, candidates and regions of the request.
    """

    tracks: Mapping[int, KeptTrack]
    next_id: int

    @classmethod
    def of(cls, queues: Mapping[int, DetectionQueue], tracks: Sequence[VideoTrack], options: Options) -> KeptVideo:
        """Take the detections of all frames; the queues must keep them.

        Args:
            queues: by stream index, those of a video that is finished.
            tracks: of the video.
            options: of the request.
        """
        kept: dict[int, KeptTrack] = {}
        next_id, linkers = 0, {}
        for track in tracks:
            linkers[track.index] = CandidateLinker(options)
            kept[track.index] = one = _track(queues[track.index], track, linkers[track.index])
            found = one.objects.track_ids
            next_id = max(next_id, int(found[found < FIRST_TRACK].max(initial=0)) + 1)
        for index, linker in linkers.items():
            candidates = linker.finish(next_id)
            kept[index] = replace(kept[index], candidates=candidates)
            next_id = max(next_id, int(candidates.sightings.track_ids.max(initial=0)) + 1)
        ids = [int(one.objects.track_ids.max(initial=0)) + 1 for one in kept.values()]
        return cls(kept, max([FIRST_TRACK + len(options.regions), *ids]))

    def save(self, path: Path) -> None:
        """Write all to a file, as a compressed NumPy archive."""
        arrays: dict[str, NDArray[Any]] = {"tracks": np.array(sorted(self.tracks)), "next_id": np.array(self.next_id)}
        for index, track in self.tracks.items():
            for name in ("times", *_OF_FRAMES):
                arrays[f"{index}_{name}"] = getattr(track, name)
            arrays |= {f"{index}_{name}": getattr(track.objects, name) for name in _COLUMNS}
            faint = track.candidates
            arrays |= {f"{index}_faint_{name}": getattr(faint.sightings, name) for name in _COLUMNS}
            arrays |= {f"{index}_faint_{name}": getattr(faint, name) for name in _FAINT}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> KeptVideo:
        """Read a file that `save` wrote.

        Raises:
            BrokenMedia: it is no such file.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                tracks = {
                    int(index): KeptTrack(
                        **{name: archive[f"{index}_{name}"] for name in _OF_FRAMES},
                        times=archive[f"{index}_times"] if f"{index}_times" in archive else np.empty(0),
                        objects=Detections(**{name: archive[f"{index}_{name}"] for name in _COLUMNS}),
                        candidates=_candidates(archive, int(index)),
                    )
                    for index in archive["tracks"]
                }
                return cls(tracks, int(archive["next_id"]))
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise BrokenMedia("The kept detections of this video cannot be read.") from error

    def best_scores(self) -> dict[int, float]:
        """Return by track id the highest score of the track."""
        best: dict[int, float] = {}
        for track in self.tracks.values():
            for track_id, score in zip(track.objects.track_ids.tolist(), track.objects.scores.tolist(), strict=True):
                best[track_id] = max(score, best.get(track_id, 0.0))
        return best

    def track_ids(self, regions: int) -> set[int]:
        """Return the ids of all tracks, those of the request's regions too.

        Args:
            regions: how many regions the request has.
        """
        found = {int(each) for track in self.tracks.values() for each in np.unique(track.objects.track_ids)}
        return {each for each in found if each >= 0} | set(range(FIRST_TRACK, FIRST_TRACK + regions))

    def candidates(self) -> dict[int, tuple[CandidateTracks, slice]]:
        """Return by id all candidates: those of its video track, and its rows there."""
        return {
            key: (track.candidates, rows)
            for track in self.tracks.values()
            for key, rows in track.candidates.rows().items()
        }

    def least(self, options: Options) -> dict[ObjectType, float]:
        """Return by type the lowest threshold that a review may choose: above it, all candidates are kept.

        Args:
            options: of the request.
        """
        scores = np.max([track.candidates.least for track in self.tracks.values()], axis=0)
        return {each: min(float(scores[each.number]), options.threshold(each)) for each in OBJECT_TYPES}

    def frames(self, track: VideoTrack, regions: tuple[DrawnRegion, ...]) -> Iterator[FrameDetections]:
        """Return the frames of a track with all that the first version redacted in them.

        Args:
            track: of the source.
            regions: of the request.
        """
        kept = self.tracks[track.index]
        for number in range(len(kept)):
            frame = kept.frame(number)
            if regions:
                drawn = drawn_objects(regions, track.size_hw, float(frame.pts * track.time_base))
                frame = replace(frame, detections=Detections.merge([frame.detections, drawn]))
            yield frame


def _candidates(archive: Mapping[str, NDArray[Any]], index: int) -> CandidateTracks:
    if f"{index}_faint_numbers" not in archive:
        # an earlier version kept none
        return CandidateTracks.empty()
    columns: dict[str, Any] = {name: archive[f"{index}_faint_{name}"] for name in _COLUMNS}
    sightings = Detections(**columns)
    return CandidateTracks(sightings, **{name: archive[f"{index}_faint_{name}"] for name in _FAINT})


def _track(queue: DetectionQueue, track: VideoTrack, linker: CandidateLinker) -> KeptTrack:
    frames = []
    for number in range(queue.count()):
        frame = queue.wait_for(number)
        assert frame is not None
        mine = frame.detections.sources != Source.CALLER.value
        frames.append(replace(frame, detections=replace(frame.detections, masks=())[mine], faint=Detections.empty()))
        linker.add(number, float(frame.pts * track.time_base), uncovered(frame.faint, frame.detections))
    counts = [len(frame.detections) for frame in frames]
    return KeptTrack(
        np.array([frame.pts for frame in frames], np.int64),
        np.array([float(frame.pts * track.time_base) for frame in frames], np.float64),
        np.array([frame.damaged for frame in frames], np.bool_),
        np.array([frame.fingerprint for frame in frames], np.uint32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        Detections.merge(frame.detections for frame in frames),
        CandidateTracks.empty(),
    )
