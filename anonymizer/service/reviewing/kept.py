"""What was kept of the detection of a task: the objects that a review can name, and the candidates below thresholds."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anonymizer.models import FileKind, Task
from anonymizer.pipeline.detections import Detections, ObjectType, Source
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs import metadata
from anonymizer.pipeline.review.edits import ObjectRef, ReviewEdits
from anonymizer.pipeline.review.selection import Selection, select
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.service import files, videos
from anonymizer.service.reviewing.errors import NoOriginal

__all__ = ["MOST_CANDIDATES", "KeptImage", "KeptTracks", "first_state"]

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
        return select(self.found, metadata.over_threshold(self.found, options), self.size_hw, options, state)

    def key_of(self, state: ReviewState) -> Callable[[str, ObjectRef], str]:
        """Return what finds the key of an object that a review of a version names."""
        keys = self.selection(state).keys

        def find(name: str, reference: ObjectRef) -> str:
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
    """The tracks of a video that a review can name.

    Attributes:
        ids: of the tracks that were found, and of the request's own regions.
        next_id: the track id of the first object that a review adds.
        options: of the request.
    """

    ids: frozenset[int]
    next_id: int
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
                video = KeptVideo.load(path)
        except FileNotFoundError:
            raise NoOriginal(f"Task {task.pk} keeps no detections that a review could use.") from None
        return cls(frozenset(video.track_ids(len(options.regions))), video.next_id, options)

    def key_of(self, state: ReviewState) -> Callable[[str, ObjectRef], str]:
        """Return what finds the key of a track that a review of a version names."""

        def find(name: str, reference: ObjectRef) -> str:
            added = reference.number - self.next_id
            if reference.is_track and 0 <= added < len(state.added):
                key = f"a{added}"
            else:
                key = f"t{reference.number}" if reference.is_track and reference.number in self.ids else ""
            if not key or key in state.dropped:
                raise InvalidParameter(name, reference, "a track_id of the current version's metadata")
            return key

        return find

    def check(self, edits: ReviewEdits) -> None:
        """Make sure that a review asks for nothing that was not kept.

        Raises:
            InvalidParameter: a threshold is below that of the upload.
        """
        for object_type, score in edits.thresholds.items():
            least = self.options.threshold(object_type)
            if score < least:
                allowed = f"{least} or more: of a video, nothing below the threshold of the upload is kept"
                raise InvalidParameter(f"thresholds.{object_type}", score, allowed)


def first_state(described: object) -> ReviewState:
    """Return the state that the first version of an image has: what only the look at its result found.

    Args:
        described: the metadata of the image.
    """
    rows = described["detections"] if isinstance(described, Mapping) else []
    added = [
        {"type": row["type_label"], "box": row["bbox"], "source": row["source"]}
        for row in rows
        if row.get("source") == Source.VERIFICATION
    ]
    return ReviewState.from_json({"added": added})
