"""What was kept of the detection of a task: the objects that a review can name, and what is below the thresholds."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anonymizer.models import FileKind, Task
from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.review.edits import AddedObject, ObjectRef, ReviewEdits
from anonymizer.pipeline.review.selection import Selection, select
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import files, videos
from anonymizer.service.reviewing.errors import NoOriginal

if TYPE_CHECKING:
    from anonymizer.pipeline.results import ImageResult
    from anonymizer.pipeline.video.review.candidates import CandidateTracks
    from anonymizer.pipeline.video.review.kept import KeptVideo

__all__ = ["MOST_CANDIDATES", "KeptImage", "KeptTracks", "first_state", "found_again"]

#: the most candidates that are listed, those with the highest scores
MOST_CANDIDATES = 5000


@dataclass(frozen=True, slots=True)
class KeptImage:
    """The kept detections of an image, whatever their scores.

    Attributes:
        found: the detections.
        size_hw: height and width of the image in pixels.
        options: of the request.
    """

    found: Detections
    size_hw: tuple[int, int]
    options: Options

    @classmethod
    def of(cls, task: Task) -> KeptImage:
        """Read what a task keeps.

        Raises:
            NoOriginal: it keeps no detections.
        """
        kept, described = task.file(FileKind.DETECTIONS), task.file(FileKind.METADATA)
        try:
            if kept is None or described is None:
                raise FileNotFoundError
            found = Detections.load(io.BytesIO(kept.read()))
            height, width = json.loads(described.read())["size"]
        except FileNotFoundError:
            raise NoOriginal(f"Task {task.pk} keeps no detections that a review could use.") from None
        types = tuple(ObjectType(name) for name in task.object_types)
        return cls(found.of_type(*types), (height, width), Options.from_params(task.options)[0])

    def selection(self, state: ReviewState) -> Selection:
        """Return the objects of a version, as its metadata lists them."""
        options = state.options(self.options)
        over = state.reaching(metadata.over_threshold(self.found, options))
        return select(self.found, over, self.size_hw, options, state)

    def key_of(self, state: ReviewState) -> Callable[[str, ObjectRef], str]:
        """Return what finds the key of an object that a review of a version names."""
        keys = self.selection(state).keys

        def find(name: str, reference: ObjectRef) -> str:
            if reference.is_candidate:
                if reference.number >= len(self.found):
                    raise InvalidParameter(name, reference, "an id of the candidates")
                return f"c{reference.number}"
            if reference.is_track or reference.number >= len(keys):
                last = f"0 to {len(keys) - 1}" if keys else "none, as it has no objects"
                raise InvalidParameter(name, reference, f"an id of the current version's metadata ({last})")
            return keys[reference.number]

        return find

    def check(self, edits: ReviewEdits) -> None:
        """Make sure that a review asks for nothing that only videos have.

        Raises:
            InvalidParameter: an object to add moves.
        """
        for added in edits.add:
            if len(added.keys) > 1 or added.follow:
                raise InvalidParameter("add", json.dumps(added.as_json()), "one shape, as the task is an image")

    def candidates(self, state: ReviewState) -> dict[str, Any]:
        """Return all kept candidates as JSON values.

        Each says in `detection` which id it has in the metadata of the version; None: it is not in it.
        """
        ids = {key: number for number, key in enumerate(self.selection(state).keys)}
        best = np.argsort(-self.found.scores, kind="stable")[:MOST_CANDIDATES]
        options = state.options(self.options)
        return {
            "size": list(self.size_hw),
            "thresholds": {each.value: options.threshold(each) for each in ObjectType},
            "total": len(self.found),
            "candidates": [self._candidate(int(row), ids) for row in best],
        }

    def _candidate(self, row: int, ids: Mapping[str, int]) -> dict[str, Any]:
        height, width = self.size_hw
        object_type = self.found.object_type(row)
        box = np.clip(np.rint(self.found.boxes[row]), 0, [width, height, width, height]).astype(int).tolist()
        return {
            "id": row, "bbox": box, "type": object_type.code, "type_label": object_type.value,
            "score": round(float(self.found.scores[row]), 4), "source": str(self.found.sources[row]),
            "model": str(self.found.models[row]), "detection": ids.get(f"c{row}"),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeptTracks:
    """The tracks and candidates of a video that a review can name.

    Attributes:
        video: what is kept.
        options: of the request.
    """

    video: KeptVideo
    options: Options

    @classmethod
    def of(cls, task: Task) -> KeptTracks:
        """Read what a task keeps.

        Raises:
            NoOriginal: it keeps no detections.
        """
        from anonymizer.pipeline.video.review.kept import KeptVideo

        kept, options = task.file(FileKind.DETECTIONS), videos.options_of(task)
        try:
            if kept is None:
                raise FileNotFoundError
            with tempfile.TemporaryDirectory() as folder, files.local_path(kept, Path(folder)) as path:
                return cls(KeptVideo.load(path), options)
        except FileNotFoundError:
            raise NoOriginal(f"Task {task.pk} keeps no detections that a review could use.") from None

    def key_of(self, state: ReviewState) -> Callable[[str, ObjectRef], str]:
        """Return what finds the key of a track that a review of a version names."""
        ids, candidates = self.video.track_ids(len(self.options.regions)), self.video.candidates()
        taken = self._taken(state)

        def find(name: str, reference: ObjectRef) -> str:
            number = reference.number
            if reference.is_candidate:
                if number not in candidates:
                    raise InvalidParameter(name, reference, "an id of the candidates")
                return f"t{number}"
            added = number - self.video.next_id
            if reference.is_track and 0 <= added < len(state.added):
                key = f"a{added}"
            else:
                key = f"t{number}" if reference.is_track and (number in ids or number in taken) else ""
            if not key or key in state.dropped:
                raise InvalidParameter(name, reference, "a track_id of the current version's metadata")
            return key

        return find

    def check(self, edits: ReviewEdits) -> None:
        """Make sure that a review asks for nothing that was not kept.

        Raises:
            InvalidParameter: a threshold is below the scores of the candidates that are kept.
        """
        lowest = self.video.least(self.options)
        for object_type, score in edits.thresholds.items():
            # what is said has four digits
            if score < lowest[object_type] - 5e-5:
                allowed = f"{lowest[object_type]:.4f} or more: of this video, nothing fainter is kept"
                raise InvalidParameter(f"thresholds.{object_type}", score, allowed)

    def candidates(self, state: ReviewState) -> dict[str, Any]:
        """Return the candidates as JSON values, best first.

        Each says in `track_id` which one it has in the metadata of the version; None: it is not in it.
        """
        options, taken = state.options(self.options), self._taken(state)
        best = [(key, tracks, rows, tracks.best(rows)) for key, (tracks, rows) in self.video.candidates().items()]
        best.sort(key=lambda each: -float(each[1].sightings.scores[each[3]]))
        return {
            "thresholds": {each.value: options.threshold(each) for each in ObjectType},
            "lowest_thresholds": {
                each.value: round(least, 4) for each, least in self.video.least(self.options).items()
            },
            "total": len(best),
            "candidates": [
                _moving_candidate(tracks, rows, row) | {"id": key, "track_id": key if key in taken else None}
                for key, tracks, rows, row in best[:MOST_CANDIDATES]
            ],
        }

    def _taken(self, state: ReviewState) -> set[int]:
        from anonymizer.pipeline.video.review.candidates import taken_candidates

        return {key for track in self.video.tracks.values() for key in taken_candidates(track.candidates, state)}


def _moving_candidate(tracks: CandidateTracks, rows: slice, best: int) -> dict[str, Any]:
    seen = tracks.sightings[rows]
    object_type = tracks.sightings.object_type(best)
    boxes = np.rint(seen.boxes).astype(int)
    return {
        "type": object_type.code, "type_label": object_type.value,
        "score": round(float(tracks.sightings.scores[best]), 4), "model": str(tracks.sightings.models[best]),
        "bbox": boxes[best - rows.start].tolist(), "frame": int(tracks.numbers[best]),
        "time": round(float(tracks.times[best]), 6),
        "from": round(float(tracks.times[rows.start]), 6), "to": round(float(tracks.times[rows.stop - 1]), 6),
        "boxes": [[number, *box] for number, box in zip(tracks.numbers[rows].tolist(), boxes.tolist(), strict=True)],
    }  # fmt: skip


def first_state(described: object) -> ReviewState:
    """Return the state that the first version of an image has: what only the look at its result found.

    Args:
        described: the metadata of the image.
    """
    rows = described["detections"] if isinstance(described, Mapping) else []
    return ReviewState().with_finds([_find(row) for row in rows if row.get("source") == Source.VERIFICATION])


def found_again(result: ImageResult) -> list[AddedObject]:
    """Return what only the look at the result of a review found. These are the last objects of its metadata."""
    count = 0 if result.verification is None else sum(result.verification.added.values())
    return [_find(row) for row in result.metadata["detections"][len(result.detections) - count :]] if count else []


def _find(row: Mapping[str, Any]) -> AddedObject:
    return AddedObject.from_json({"type": row["type_label"], "box": row["bbox"]}, source=row["source"])
