"""What is said about a picture beside the picture: the metadata of the contract, and the numbers for a reviewer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs import masks
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["counts", "review_counts", "frame_metadata", "image_metadata", "mask_source", "over_threshold"]


def image_metadata(
    name: str,
    size_hw: tuple[int, int],
    detections: Detections,
    regions: Sequence[RedactionRegion],
    options: Options,
    *,
    seconds: float,
) -> dict[str, Any]:
    """The metadata of one picture.

    Args:
        shapes: what is redacted; an object without one (it lies in `ignores` altogether) counts as not anonymised.
        seconds: of detection and redaction, without reading and writing.
    """
    by_row = {shape.row: shape for shape in regions}
    return {
        "id": name,
        "filename": name,
        "folder": None,
        "size": list(size_hw),
        "duration": round(seconds, 4),
        "profile": options.profile or None,
        "detections": [
            _detection(name, size_hw, detections, row, by_row.get(row), options) for row in range(len(detections))
        ],
    }


def frame_metadata(
    name: str,
    number: int,
    time_s: float,
    size_hw: tuple[int, int],
    detections: Detections,
    regions: Sequence[RedactionRegion],
    options: Options,
) -> dict[str, Any]:
    """The metadata of one frame of a video: that of a picture, with its number, its time and the objects' tracks."""
    by_row = {shape.row: shape for shape in regions}
    return {
        "id": number,
        "filename": name,
        "folder": None,
        "size": list(size_hw),
        "time": round(time_s, 6),
        "profile": options.profile or None,
        "detections": [
            _detection(number, size_hw, detections, row, by_row.get(row), options)
            | {"track_id": int(track_id) if track_id >= 0 else None}
            for row, track_id in enumerate(detections.track_ids)
        ],
    }


def _detection(
    name: str | int,
    size_hw: tuple[int, int],
    detections: Detections,
    row: int,
    shape: RedactionRegion | None,
    options: Options,
) -> dict[str, Any]:
    height, width = size_hw
    object_type = detections.object_type(row)
    box = np.clip(np.rint(detections.boxes[row]), 0, [width, height, width, height]).astype(int).tolist()
    return {
        "id": row,
        "parent_image": name,
        "offset": box[:2],
        "bbox": box,
        "type": object_type.code,
        "type_label": object_type.value,
        "score": round(float(detections.scores[row]), 4),
        "is_anonymised": shape is not None and options.method is not Method.DETECT,
        "color": None,
        "mask_rle": None if shape is None else masks.rle(shape, size_hw),
        "source": str(detections.sources[row]),
        "model": str(detections.models[row]),
        "mask_source": None if shape is None else mask_source(detections, row, options),
    }


def mask_source(detections: Detections, row: int, options: Options) -> str:
    """Which way made an object's outline: the id of a model, `ellipse` or `box`."""
    mask = detections.masks[row]
    if mask is not None and not options.bbox:
        return mask.source or str(detections.models[row])
    ellipse = detections.object_type(row) is ObjectType.FACE and not options.bbox
    return "ellipse" if ellipse else "box"


def over_threshold(found: Detections, options: Options, *, share: float = 1.0) -> NDArray[np.bool_]:
    """Which of what was found reach their type's threshold, or a share of it. (n,) bool."""
    thresholds = np.array([options.threshold(each) for each in OBJECT_TYPES], np.float32)
    return np.asarray(found.scores >= thresholds[found.types] * share)


def review_counts(
    found: Detections, size_hw: tuple[int, int], options: Options, least_sizes: Mapping[str, float]
) -> dict[str, int]:
    """What a reviewer would want to look at, in numbers.

    Args:
        found: all that the detectors gave, whatever the score.
        least_sizes: by model, the stated least size in pixels that it was made for.

    Returns:
        found: at or over the threshold. near_threshold: under it, above half of it. small: of those found, smaller than
        the model's least size. at_border: of those found, those that touch or pass the picture's border.
    """
    chosen = found[over_threshold(found, options)]
    near = over_threshold(found, options, share=0.5).sum() - len(chosen)
    height, width = size_hw
    x1, y1, x2, y2 = chosen.boxes.T
    least = np.array([least_sizes.get(str(model), 0.0) for model in chosen.models], np.float32)
    return {
        "found": len(chosen),
        "near_threshold": int(near),
        "small": int((np.minimum(x2 - x1, y2 - y1) < least).sum()),
        "at_border": int(((x1 <= 1) | (y1 <= 1) | (x2 >= width - 1) | (y2 >= height - 1)).sum()),
    }


def counts(detections: Detections, object_types: Collection[str]) -> dict[str, int]:
    """How many of each type that was looked for, zeros too."""
    found = detections.count_by_type()
    return {each.value: found.get(each, 0) for each in OBJECT_TYPES if each in object_types}
