"""Hints that labels may be incomplete: confident detections where nothing is labelled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anonymizer.evaluation.metrics.matching import pairwise_overlaps
from anonymizer.evaluation.metrics.results import EvaluationResult, TypeResult

__all__ = ["label_hints"]

#: a detection with this score is rarely wrong
_CONFIDENT = 0.9
#: an overlap with a labelled object from which on a detection may be a bad box of it
_TOUCHES = 0.1
#: how many such detections, and what share of all confident ones, make a hint
_LEAST, _SHARE = 5, 0.1


def label_hints(result: EvaluationResult) -> list[str]:
    """Tell where labels look incomplete: where many confident detections touch no labelled object.

    Args:
        result: of `evaluate`.

    Returns:
        A sentence for each type that looks incomplete; none if all is well.
    """
    return list(_hints(result))


def _hints(result: EvaluationResult) -> Iterator[str]:
    for object_type, of_type in result.types.items():
        confident = int((of_type.scores >= _CONFIDENT).sum())
        rows = _alone(of_type)
        if len(rows) >= _LEAST and len(rows) > _SHARE * confident:
            pictures = np.bincount(of_type.picture[rows], minlength=of_type.pictures)
            name = result.images[of_type.image_indices[int(pictures.argmax())]].path.name
            seen = f"{int((pictures > 0).sum())} of {of_type.pictures} images"
            yield (
                f"Labels of {object_type.words}s look incomplete: {len(rows)} of {confident} detections with a score "
                f"of {_CONFIDENT:g} or more have no label, in {seen}, most of them in {name}."
            )


def _alone(of_type: TypeResult) -> list[int]:
    """The confident detections that touch no labelled object."""
    rows = np.flatnonzero(~of_type.hit & (of_type.scores >= _CONFIDENT))
    alone = []
    for row in rows:
        objects = of_type.object_boxes[of_type.object_picture == of_type.picture[row]]
        overlaps = pairwise_overlaps(of_type.boxes[row][None], objects)
        if not (overlaps >= _TOUCHES).any():
            alone.append(int(row))
    return alone
