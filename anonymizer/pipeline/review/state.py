"""All that reviews changed in a result so far. A version of a result is rendered from it and the kept detections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detected_object import ObjectType, Source
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.review.edits import AddedObject, Change, ObjectRef, ReviewEdits

__all__ = ["ReviewState", "changed_options"]


@dataclass(frozen=True, slots=True)
class ReviewState:
    """Everything that the reviews of a result changed.

    Objects have keys that stay the same in all versions. Images: `c3` is row 3 of the kept detections, `r0` is the
    first of the request's own regions, and `a1` is the second object of `added`. Videos: `t7` is track or candidate 7.

    Attributes:
        added: objects that were added, those that were dropped again too.
        taken: keys of candidates that are redacted, whatever their scores.
        dropped: keys of objects that are gone.
        visible: keys of objects that are not redacted.
        changed: by key, how an object is redacted.
        thresholds: by object type, the least score of what is redacted.
    """

    added: tuple[AddedObject, ...] = ()
    taken: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    visible: frozenset[str] = frozenset()
    changed: Mapping[str, Change] = field(default_factory=dict)
    thresholds: Mapping[ObjectType, float] = field(default_factory=dict)

    def apply(self, edits: ReviewEdits, key_of: Callable[[str, ObjectRef], str]) -> ReviewState:
        """Return the state after one more review.

        Args:
            edits: the review.
            key_of: the key of an object that the review names. It gets the name of the parameter and the reference.

        Raises:
            InvalidParameter: `key_of` knows no such object.
        """
        taken = {key_of("take", each) for each in edits.take}
        dropped = (self.dropped | {key_of("drop", each) for each in edits.drop}) - taken
        changes = {key_of("change", each): change for each, change in edits.change}
        visible = {key_of("visible", each) for each in edits.visible}
        return ReviewState(
            added=(*self.added, *edits.add),
            taken=(self.taken | taken) - dropped,
            dropped=dropped,
            # an object whose method is chosen, or that is taken, is meant to be redacted
            visible=(self.visible - changes.keys() - taken | visible) - dropped,
            changed=dict(self.changed) | changes,
            thresholds=dict(self.thresholds) | dict(edits.thresholds),
        )

    def options(self, options: Options) -> Options:
        """Return the options with the thresholds of the reviews."""
        names = {f"{each.value.replace('-', '_')}_threshold": score for each, score in self.thresholds.items()}
        return replace(options, **names) if names else options  # type: ignore[arg-type]

    def reaching(self, over: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which detections of an image are redacted: those over the threshold, and those that were taken.

        Args:
            over: (n,) bool, which of the kept detections reach the threshold.
        """
        rows = [row for row in range(len(over)) if f"c{row}" in self.taken] if self.taken else []
        chosen = over.copy()
        chosen[rows] = True
        return chosen

    def takes(self, track_id: int, object_type: ObjectType, score: float) -> bool:
        """Return whether a candidate of a video is redacted.

        Args:
            track_id: its id.
            object_type: its type.
            score: its best one.
        """
        key, threshold = f"t{track_id}", self.thresholds.get(object_type)
        return key not in self.dropped and (key in self.taken or (threshold is not None and score >= threshold))

    def spares(self, number: int) -> bool:
        """Return whether an object of `added` was left visible, or was found by a look at the result and dropped.

        A region that a person drew and dropped again is not one: nobody said that there is nothing.
        """
        key, is_find = f"a{number}", self.added[number].source == Source.VERIFICATION
        return key in self.visible or (is_find and key in self.dropped)

    def with_finds(self, finds: Sequence[AddedObject]) -> ReviewState:
        """Return the state with what a look at the result found, so that later reviews can name it."""
        return replace(self, added=(*self.added, *finds))

    def change_of(self, key: str) -> Change | None:
        """Return how an object is redacted; None: as the options say."""
        change = self.changed.get(key)
        if change is None and key.startswith("a") and int(key[1:]) < len(self.added):
            # finds of a look at the result come after all that persons added
            change = self.added[int(key[1:])].change
        return None if change in (None, Change()) else change

    def as_json(self) -> dict[str, Any]:
        """The state as `from_json` reads it."""
        return {
            "added": [each.as_json() for each in self.added],
            "taken": sorted(self.taken),
            "dropped": sorted(self.dropped),
            "visible": sorted(self.visible),
            "changed": {key: change.as_json() for key, change in sorted(self.changed.items())},
            "thresholds": {each.value: score for each, score in self.thresholds.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ReviewState:
        """Read a state that `as_json` gave; an empty object is that of no review."""
        return cls(
            tuple(
                AddedObject.from_json({**row, "source": None}, source=row.get("source", "caller"))
                for row in values.get("added", ())
            ),
            frozenset(values.get("taken", ())),
            frozenset(values.get("dropped", ())),
            frozenset(values.get("visible", ())),
            {key: Change.from_json(row) for key, row in values.get("changed", {}).items()},
            {ObjectType(name): score for name, score in values.get("thresholds", {}).items()},
        )


def changed_options(options: Options, object_type: ObjectType, change: Change | None) -> Options:
    """Return the options by which one object is redacted.

    Args:
        options: of the request; with the method `detect` they stay as they are.
        object_type: of the object.
        change: what differs for it.
    """
    if change is None or options.method is Method.DETECT:
        return options
    values: dict[str, Any] = {}
    if change.method is not None:
        values["method"] = change.method
    if change.kernel_size is not None:
        values[f"kernel_size_{object_type.value.replace('-', '_')}"] = change.kernel_size
    return replace(options, **values)
