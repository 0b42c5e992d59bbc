"""The metadata of images and frames as the API returns it, and the numbers that tell whether to review a result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detections import OBJECT_TYPES, Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs import masks
from anonymizer.pipeline.redaction.regions import RedactionRegion

__all__ = ["counts", "frame_metadata", "image_metadata", "mask_source", "over_threshold", "review_counts"]

NO_NOTES: Mapping[int, Mapping[str, Any]] = {}


def image_metadata(
    name: str,
    size_hw: tuple[int, int],
    detections: Detections,
    regions: Sequence[RedactionRegion],
    options: Options,
    *,
    seconds: float,
    miss_costs: Mapping[ObjectType, float],
    notes: Mapping[int, Mapping[str, Any]] = NO_NOTES,
) -> dict[str, Any]:
    """Make the metadata of one image.

    Args:
        name: the name of the image.
        size_hw: height and width in pixels.
        detections: the objects whose scores reach the threshold of their type.
        regions: where pixels are redacted. An object without a region lies in `ignores` and counts as not anonymised.
        options: the options of the request.
        seconds: duration of detection and redaction; reading and writing do not count.
        miss_costs: by object type, how many needless blurs a miss is worth in the scores; 1 where it is left out.
        notes: by row of the detections, what is said of them besides. Default: nothing.

    Returns:
        JSON values.
    """
    by_row = {region.row: region for region in regions}
    return {
        "id": name,
        "filename": name,
        "folder": None,
        "size": list(size_hw),
        "duration": round(seconds, 4),
        "profile": options.profile or None,
        "detections": [
            _detection(name, size_hw, detections, row, by_row.get(row), options, miss_costs) | dict(notes.get(row, {}))
            for row in range(len(detections))
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
    *,
    miss_costs: Mapping[ObjectType, float],
    notes: Mapping[int, Mapping[str, Any]] = NO_NOTES,
) -> dict[str, Any]:
    """Make the metadata of one frame of a video: that of an image, with the frame's number, its time and the tracks.

    Args:
        name: the name of the video.
        number: the number of the frame.
        time_s: the time of the frame in seconds.
        size_hw: height and width in pixels.
        detections: the objects that are redacted in the frame.
        regions: where pixels are redacted.
        options: the options of the request.
        miss_costs: by object type, how many needless blurs a miss is worth in the scores; 1 where it is left out.
        notes: by row of the detections, what is said of them besides. Default: nothing.

    Returns:
        JSON values.
    """
    by_row = {region.row: region for region in regions}
    return {
        "id": number,
        "filename": name,
        "folder": None,
        "size": list(size_hw),
        "time": round(time_s, 6),
        "profile": options.profile or None,
        "detections": [
            _detection(number, size_hw, detections, row, by_row.get(row), options, miss_costs)
            | {"track_id": int(track_id) if track_id >= 0 else None}
            | dict(notes.get(row, {}))
            for row, track_id in enumerate(detections.track_ids)
        ],
    }


def _detection(
    name: str | int,
    size_hw: tuple[int, int],
    detections: Detections,
    row: int,
    region: RedactionRegion | None,
    options: Options,
    miss_costs: Mapping[ObjectType, float],
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
        "is_anonymised": region is not None and options.method is not Method.DETECT,
        "color": None,
        "mask_rle": None if region is None else masks.rle(region, size_hw),
        "source": str(detections.sources[row]),
        "model": str(detections.models[row]),
        "miss_cost": miss_costs.get(object_type, 1.0),
        "mask_source": None if region is None else mask_source(detections, row, options),
    }


def mask_source(detections: Detections, row: int, options: Options) -> str:
    """Name the source of an object's outline.

    Args:
        detections: the objects of an image.
        row: the row of the object in `detections`, from 0 up.
        options: `bbox` is used; with it, boxes are redacted instead of outlines.

    Returns:
        `box` with the option `bbox`. Otherwise the id of the model that made the mask; for an object without a mask,
        `ellipse` if it is a face and `box` if not.
    """
    mask = detections.masks[row]
    if mask is not None and not options.bbox:
        return mask.source or str(detections.models[row])
    ellipse = detections.object_type(row) is ObjectType.FACE and not options.bbox
    return "ellipse" if ellipse else "box"


def over_threshold(found: Detections, options: Options, *, share: float = 1.0) -> NDArray[np.bool_]:
    """Select the detections that reach the threshold of their type.

    Args:
        found: n detections.
        options: has the thresholds.
        share: of the threshold, 0..1, that is enough; default: the whole threshold.

    Returns:
        (n,) bool.
    """
    thresholds = np.array([options.threshold(object_type) for object_type in OBJECT_TYPES], np.float32)
    return np.asarray(found.scores >= thresholds[found.types] * share)


def review_counts(
    found: Detections, size_hw: tuple[int, int], options: Options, least_sizes: Mapping[str, float]
) -> dict[str, int]:
    """Count the detections that tell whether a person should check the result.

    Args:
        found: all detections, whatever their scores.
        size_hw: height and width of the image in pixels.
        options: has the thresholds.
        least_sizes: by model, the size in pixels of the smallest objects that it was made for.

    Returns:
        `found`: detections that reach the threshold.
        `near_threshold`: detections below the threshold that reach half of it.
        `small`: those of `found` that are smaller than the least size of their model.
        `at_border`: those of `found` that touch or cross the border of the image.
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
    """Count the objects of each requested type; types without an object count 0.

    Args:
        detections: the objects.
        object_types: the requested types.
    """
    numbers = detections.count_by_type()
    return {
        object_type.value: numbers.get(object_type, 0) for object_type in OBJECT_TYPES if object_type in object_types
    }
