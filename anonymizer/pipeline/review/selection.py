"""The objects of one image after a review, and how each of them is redacted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import Detections
from anonymizer.pipeline.images.decoded import Samples
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs.metadata import over_threshold
from anonymizer.pipeline.redaction.drawn import drawn_objects
from anonymizer.pipeline.redaction.planes import redact_alpha, redact_colours
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions
from anonymizer.pipeline.review.edits import Change
from anonymizer.pipeline.review.state import ReviewState, changed_options

__all__ = ["Selection", "effect_groups", "select", "spared_objects"]


@dataclass(frozen=True, slots=True)
class Selection:
    """n objects of one image.

    Attributes:
        objects: those of the metadata, in its order.
        keys: of each object, see `ReviewState`; empty for one that was found by the look at the result.
        is_visible: (n,) bool, which objects are not redacted.
        changes: of each object, how it is redacted; None: as the options say.
    """

    objects: Detections
    keys: tuple[str, ...]
    is_visible: NDArray[np.bool_]
    changes: tuple[Change | None, ...]

    @classmethod
    def of_all(cls, objects: Detections) -> Selection:
        """Select objects of which all are redacted, as the options say."""
        count = len(objects)
        return cls(objects, ("",) * count, np.zeros(count, np.bool_), (None,) * count)

    @property
    def redacted(self) -> Detections:
        """The objects that are redacted."""
        return self.objects[~self.is_visible]

    @property
    def notes(self) -> dict[int, Mapping[str, Any]]:
        """By row, what the metadata says of an object besides."""
        return {row: change.as_json() for row, change in enumerate(self.changes) if change is not None}

    def regions(self, size_hw: tuple[int, int], options: Options) -> list[RedactionRegion]:
        """Compute where pixels change: nowhere for objects that stay visible."""
        return [each for each in redaction_regions(self.objects, size_hw, options) if not self.is_visible[each.row]]

    def redact_colours(
        self, pixels: Samples, spare_bits: int, regions: Sequence[RedactionRegion], options: Options, *, seed: int
    ) -> Samples:
        """Redact the colours of an image as `redact_colours` does, each object in its own way."""
        if not regions:
            return redact_colours(pixels, spare_bits, (), options, seed=seed)
        for each, group in effect_groups(regions, self.changes, options):
            pixels = redact_colours(pixels, spare_bits, group, each, seed=seed)
        return pixels

    def redact_alpha(
        self, alpha: Samples, regions: Sequence[RedactionRegion], options: Options, *, seed: int
    ) -> Samples:
        """Redact the alpha plane of an image as `redact_alpha` does, each object in its own way."""
        if not regions:
            return redact_alpha(alpha, (), options, seed=seed)
        for each, group in effect_groups(regions, self.changes, options):
            alpha = redact_alpha(alpha, group, each, seed=seed)
        return alpha


def select(
    found: Detections,
    over: NDArray[np.bool_],
    size_hw: tuple[int, int],
    options: Options,
    state: ReviewState,
    added: Detections | None = None,
) -> Selection:
    """Choose the objects of an image.

    Args:
        found: n kept detections, whatever their scores.
        over: (n,) bool, which of them reach the threshold.
        size_hw: height and width of the image in pixels.
        options: has the request's own regions.
        state: what reviews changed.
        added: further objects, which no review can name. Default: none.

    Returns:
        First the detections, then the regions of the request, those of reviews, and the others.
    """
    rows = [int(row) for row in np.flatnonzero(over) if f"c{row}" not in state.dropped]
    parts, keys = [found[rows]], [f"c{row}" for row in rows]
    drawn = [("r", number, region, "caller") for number, region in enumerate(options.regions)]
    drawn += [("a", number, each.keys[0].region, each.source) for number, each in enumerate(state.added)]
    for kind, number, region, source in drawn:
        if (key := f"{kind}{number}") in state.dropped:
            continue
        placed = drawn_objects([region], size_hw)
        if len(placed):
            parts.append(replace(placed, sources=np.array([source])))
            keys.append(key)
    if added is not None:
        parts.append(added)
        keys += [""] * len(added)
    return Selection(
        Detections.merge(parts),
        tuple(keys),
        np.array([key in state.visible for key in keys], np.bool_),
        tuple(state.change_of(key) if key else None for key in keys),
    )


def spared_objects(found: Detections, options: Options, state: ReviewState, size_hw: tuple[int, int]) -> Detections:
    """Return what persons decided not to redact in an image: a look at the result must not bring it back.

    Args:
        found: n kept detections, whatever their scores.
        options: of the request.
        state: what reviews changed.
        size_hw: height and width of the image in pixels.

    Returns:
        Objects that were dropped or left visible, and those that a raised threshold leaves out.
    """
    if state == ReviewState():
        return Detections.empty()
    free = state.dropped | state.visible
    now = state.reaching(over_threshold(found, state.options(options)))
    reached = now | over_threshold(found, options)
    rows = [int(row) for row in np.flatnonzero(reached) if not now[row] or f"c{row}" in free]
    regions = [region for number, region in enumerate(options.regions) if f"r{number}" in free]
    regions += [each.keys[0].region for number, each in enumerate(state.added) if state.spares(number)]
    return Detections.merge([found[rows], drawn_objects(regions, size_hw)])


def effect_groups(
    regions: Sequence[RedactionRegion], changes: Sequence[Change | None], options: Options
) -> Iterator[tuple[Options, list[RedactionRegion]]]:
    """Group regions that are redacted by the same options.

    The groups are drawn one after the other, each on what those before it left. So none shows what another one hid.
    Black comes last, because it must stay black.

    Args:
        regions: of some objects.
        changes: by row of the objects, what differs for them.
        options: of the request.

    Yields:
        The options and the regions of each group.
    """
    groups: dict[Options, list[RedactionRegion]] = {}
    for region in regions:
        groups.setdefault(changed_options(options, region.object_type, changes[region.row]), []).append(region)
    yield from sorted(groups.items(), key=lambda group: (group[0].method is Method.BLACKEN, group[0] != options))
