"""Candidates of a video: what stayed below its threshold, joined from frame to frame, so that a review can take it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, Source
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.tracking.boxes import Box, contains, enlarge, ious
from anonymizer.pipeline.tracking.state import MATCH_IOU, is_extension
from anonymizer.pipeline.tracking.tracker import MIN_THRESHOLD_SHARE

__all__ = [
    "MOST_IN_FRAME",
    "MOST_SIGHTINGS",
    "CandidateLinker",
    "CandidateTracks",
    "faint_finds",
    "taken_candidates",
    "uncovered",
]

#: the most sightings that are kept of one video track, and the most of one frame: those nearest to their threshold
MOST_SIGHTINGS, MOST_IN_FRAME = 50_000, 100
#: sightings of one candidate from which every other one is dropped
MOST_OF_ONE = 1000
#: seconds without a sighting after which a candidate has ended
GAP_S = 0.5
#: a candidate is redacted already if an object of its type has this IoU with it, or holds this share of it
_SAME_IOU, _INSIDE = 0.5, 0.9


def faint_finds(found: Detections, options: Options) -> Detections:
    """Return the detections of a frame below their thresholds, but not below the share that tracking uses."""
    is_faint = over_threshold(found, options, share=MIN_THRESHOLD_SHARE) & ~over_threshold(found, options)
    return found[is_faint]


def uncovered(faint: Detections, objects: Detections) -> Detections:
    """Return those of the faint finds of a frame that no object of their type covers.

    Args:
        faint: n detections.
        objects: what is redacted in the frame.
    """
    if not len(faint) or not len(objects):
        return faint
    is_free = np.ones(len(faint), np.bool_)
    for row in range(len(faint)):
        box = faint.boxes[row]
        others = objects.boxes[objects.types == faint.types[row]]
        holds = any(contains(other, box, _INSIDE) for other in others)
        is_free[row] = not (holds or ious(box, others).max(initial=0) >= _SAME_IOU)
    return faint[is_free]


@dataclass(frozen=True, slots=True)
class CandidateTracks:
    """The candidates of one video track.

    Attributes:
        sightings: n detections, with the id of their candidate in `track_ids`; those of one candidate lie together.
        numbers: (n,) int64, the number of the frame of each sighting.
        times: (n,) float64, when it is shown, in seconds.
        least: (4,) float64, by index into `OBJECT_TYPES`, the score below which not all candidates are kept.
    """

    sightings: Detections
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    least: NDArray[np.float64]

    @classmethod
    def empty(cls) -> CandidateTracks:
        """No candidates, of a video that keeps none: no score is low enough."""
        return cls(Detections.empty(), np.empty(0, np.int64), np.empty(0), np.full(len(OBJECT_TYPES), np.inf))

    def rows(self) -> dict[int, slice]:
        """Return by id the rows of each candidate."""
        ids, firsts, counts = np.unique(self.sightings.track_ids, return_index=True, return_counts=True)
        found = zip(ids.tolist(), firsts.tolist(), counts.tolist(), strict=True)
        return {number: slice(first, first + count) for number, first, count in found}

    def best(self, rows: slice) -> int:
        """Return the row of the sighting with the highest score of a candidate."""
        return int(rows.start) + int(self.sightings.scores[rows].argmax())

    def objects(self, ids: Collection[int], times: NDArray[np.float64]) -> dict[int, Detections]:
        """Return what is redacted if some candidates are taken.

        Between sightings the box lies on the straight line. Before the first and after the last one, the box grows and
        is kept for as long as tracking keeps an object.

        Args:
            ids: of the candidates.
            times: (m,) of all frames of the track, in seconds.

        Returns:
            By number of the frame, the objects; those between sightings have the source `tracker`.
        """
        found: dict[int, list[Detections]] = {}
        for track_id, rows in self.rows().items():
            if track_id in ids:
                for number, one in self._path(rows, times):
                    found.setdefault(number, []).append(one)
        return {number: Detections.merge(parts) for number, parts in found.items()}

    def _path(self, rows: slice, times: NDArray[np.float64]) -> list[tuple[int, Detections]]:
        numbers, seen = self.numbers[rows], self.sightings[rows]
        first, last = int(numbers[0]), int(numbers[-1])
        every = np.arange(len(times))
        before = int(np.flatnonzero(is_extension(abs(every - first), abs(times - times[first])))[0])
        after = int(np.flatnonzero(is_extension(abs(every - last), abs(times - times[last])))[-1]) + 1
        path = []
        for number in range(before, after):
            near = int(np.searchsorted(numbers, number))
            if near < len(numbers) and numbers[near] == number:
                path.append((number, seen[[near]]))
                continue
            sides = [at for at in (near - 1, near) if 0 <= at < len(numbers)]
            box, away_s = _between([seen.boxes[at] for at in sides], times[numbers[sides]], float(times[number]))
            path.append((number, _filled(seen, sides[0], enlarge(box, away_s))))
        return path


def taken_candidates(candidates: CandidateTracks, state: ReviewState) -> set[int]:
    """Return the ids of the candidates that a version redacts.

    Args:
        candidates: of one video track.
        state: of the version.
    """
    if not (state.taken or state.thresholds):
        return set()
    seen, rows_of = candidates.sightings, candidates.rows()
    bests = {key: candidates.best(rows) for key, rows in rows_of.items()}
    return {key for key, row in bests.items() if state.takes(key, seen.object_type(row), float(seen.scores[row]))}


def _pairwise_ious(ones: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, m) IoU of each of n boxes with each of m others."""
    low = np.maximum(ones[:, None, :2], others[None, :, :2])
    high = np.minimum(ones[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ones, others)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6), np.float32)


def _between(boxes: Sequence[Box], times: NDArray[np.float64], time_s: float) -> tuple[Box, float]:
    """Where a candidate may be between two sightings, or beside one, and the seconds to the nearer of them."""
    if len(boxes) == 1 or times[1] <= times[0]:
        return boxes[0], abs(time_s - float(times[0]))
    share = np.float32((time_s - times[0]) / (times[1] - times[0]))
    return boxes[0] + share * (boxes[1] - boxes[0]), float(min(time_s - times[0], times[1] - time_s))


def _filled(seen: Detections, row: int, box: Box) -> Detections:
    return Detections(
        box[None], seen.scores[[row]], seen.types[[row]], seen.models[[row]],
        np.array([Source.TRACKER.value]), seen.track_ids[[row]],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sighting:
    """One sighting of a candidate: number of the frame, time in seconds, box, score, model and source."""

    number: int
    time_s: float
    box: tuple[float, float, float, float]
    score: float
    model: str
    source: str


@dataclass(slots=True)
class _Candidate:
    """One candidate on its way, and the largest share of its threshold that it had."""

    object_type: int
    share: float
    sightings: list[_Sighting]

    @property
    def last(self) -> _Sighting:
        return self.sightings[-1]

    def thin_out(self) -> int:
        """Drop every other sighting, but not the best one. What lies between is on a straight line.

        Returns:
            How many sightings were dropped.
        """
        best = max(self.sightings, key=lambda each: each.score)
        kept = [each for at, each in enumerate(self.sightings) if at % 2 == 0 or each is best or each is self.last]
        dropped, self.sightings = len(self.sightings) - len(kept), kept
        return dropped


@dataclass(slots=True)
class CandidateLinker:
    """Joins the faint finds of frame after frame to candidates. What it keeps is bounded, whatever the video's length.

    Attributes:
        options: have the thresholds.
        most: sightings that are kept.
    """

    options: Options
    most: int = MOST_SIGHTINGS
    _open: list[_Candidate] = field(default_factory=list)
    _closed: list[_Candidate] = field(default_factory=list)
    _count: int = 0
    #: by index into `OBJECT_TYPES`: the largest share of a threshold that something had which was not kept
    _lost: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, time_s: float, faint: Detections) -> None:
        """Take the faint finds of the next frame.

        Args:
            number: of the frame, from 0.
            time_s: when it is shown, in seconds.
            faint: its faint finds.
        """
        still_open: list[_Candidate] = []
        for each in self._open:
            (self._closed if time_s - each.last.time_s > GAP_S else still_open).append(each)
        self._open = still_open
        if not len(faint):
            return
        shares = faint.scores / self._thresholds()[faint.types]
        order = np.argsort(-shares, kind="stable")
        for row in order[MOST_IN_FRAME:]:
            self._lose(int(faint.types[row]), float(shares[row]))
        self._join(number, time_s, faint, shares, order[:MOST_IN_FRAME].tolist())
        if self._count > 2 * self.most:
            self._shrink()

    def finish(self, first_id: int) -> CandidateTracks:
        """Return all candidates.

        Args:
            first_id: of the first candidate; the others get the next ones.
        """
        self._closed, self._open = [*self._closed, *self._open], []
        self._shrink()
        kept = sorted(self._closed, key=lambda each: each.sightings[0].number)
        counts = [len(each.sightings) for each in kept]
        rows = [sighting for each in kept for sighting in each.sightings]
        lost = [max(self._lost.get(at, 0.0), MIN_THRESHOLD_SHARE) for at in range(len(OBJECT_TYPES))]
        return CandidateTracks(
            Detections(
                np.array([row.box for row in rows], np.float32).reshape(-1, 4),
                np.array([row.score for row in rows], np.float32),
                np.repeat(np.array([each.object_type for each in kept], np.uint8), counts),
                np.array([row.model for row in rows], np.str_),
                np.array([row.source for row in rows], "U16"),
                np.repeat(np.arange(first_id, first_id + len(kept), dtype=np.int64), counts),
                (None,) * len(rows),
            ),
            np.array([row.number for row in rows], np.int64),
            np.array([row.time_s for row in rows], np.float64),
            self._thresholds() * lost,
        )

    def _join(
        self, number: int, time_s: float, faint: Detections, shares: NDArray[np.float64], rows: Sequence[int]
    ) -> None:
        """Give each find to the candidate that it overlaps most, or begin a candidate with it."""
        candidate_of: dict[int, _Candidate] = {}
        if self._open:
            last = np.array([each.last.box for each in self._open], np.float32)
            types = np.array([each.object_type for each in self._open])
            overlaps = _pairwise_ious(last, faint.boxes[rows])
            overlaps[types[:, None] != faint.types[rows]] = 0
            joined: set[int] = set()
            # the best pairs first
            for at, place in np.argwhere(overlaps >= MATCH_IOU)[np.argsort(-overlaps[overlaps >= MATCH_IOU])].tolist():
                if at not in joined and rows[place] not in candidate_of:
                    joined.add(at)
                    candidate_of[rows[place]] = self._open[at]
        for row in rows:
            x1, y1, x2, y2 = faint.boxes[row].tolist()
            seen = _Sighting(
                number, time_s, (x1, y1, x2, y2), float(faint.scores[row]), sys.intern(str(faint.models[row])),
                sys.intern(str(faint.sources[row])),
            )  # fmt: skip
            known = candidate_of.get(row)
            if known is None:
                self._open.append(_Candidate(int(faint.types[row]), float(shares[row]), [seen]))
            else:
                known.sightings.append(seen)
                known.share = max(known.share, float(shares[row]))
            self._count += 1
            if known is not None and len(known.sightings) > MOST_OF_ONE:
                self._count -= known.thin_out()

    def _shrink(self) -> None:
        """Forget the candidates that are furthest from their thresholds, until few enough sightings are left."""
        self._closed.sort(key=lambda each: -each.share)
        room = self.most - sum(len(each.sightings) for each in self._open)
        kept: list[_Candidate] = []
        for each in self._closed:
            room -= len(each.sightings)
            if room >= 0:
                kept.append(each)
            else:
                self._lose(each.object_type, each.share)
        self._closed = kept
        self._count = sum(len(each.sightings) for each in (*self._closed, *self._open))

    def _lose(self, object_type: int, share: float) -> None:
        # a threshold just above it has all that reaches it
        self._lost[object_type] = max(self._lost.get(object_type, 0.0), float(np.nextafter(share, 2.0)))

    def _thresholds(self) -> NDArray[np.float64]:
        scores = [self.options.threshold(object_type) for object_type in OBJECT_TYPES]
        return np.maximum(np.array(scores, np.float64), 1e-6)
