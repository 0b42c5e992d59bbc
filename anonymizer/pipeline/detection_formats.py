"""Detections in the formats of other libraries: `supervision`, COCO and pandas.

The functions take and give plain values and columns: the methods of `Detections` call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.detected_object import OBJECT_TYPES, Detection, Mask, ObjectType

if TYPE_CHECKING:
    import pandas
    import supervision

__all__ = [
    "columns_from_coco",
    "columns_from_data_frame",
    "columns_from_supervision",
    "to_coco_rows",
    "to_data_frame",
    "to_supervision",
]

#: arguments of `Detections`, by name
Columns = dict[str, Any]


def to_supervision(
    objects: Sequence[Detection], boxes: NDArray[np.float32], size_hw: tuple[int, int] | None
) -> supervision.Detections:
    """Make a `supervision.Detections`; see `Detections.to_supervision`.

    Args:
        objects: n detections.
        boxes: (n, 4) float32 x1, y1, x2, y2 in pixels, of the same objects; they are copied.
        size_hw: height and width of the image in pixels, or None for no masks.

    Returns:
        The n objects. Objects without a mask get their filled box if another object has a mask.

    Raises:
        ImportError: the package `supervision` is not installed.
    """
    masks = None
    if size_hw is not None and any(detection.mask for detection in objects):
        masks = np.stack([_full_mask(detection, size_hw) for detection in objects])
    tracked = any(detection.track_id is not None for detection in objects)
    tracks = [-1 if detection.track_id is None else detection.track_id for detection in objects]
    made = _optional("supervision").Detections(
        xyxy=boxes.copy(),
        mask=masks,
        confidence=np.array([detection.score for detection in objects], np.float32),
        class_id=np.array([detection.object_type.number for detection in objects], int),
        tracker_id=np.array(tracks, int) if tracked else None,
        data={
            "class_name": np.array([detection.object_type.value for detection in objects], np.str_),
            "model": np.array([detection.model for detection in objects], np.str_),
        },
    )
    return cast("supervision.Detections", made)


def columns_from_supervision(value: supervision.Detections, class_names: Mapping[Any, str] | None) -> Columns:
    """Read a `supervision.Detections`; see `Detections.from_supervision`.

    Args:
        value: n objects. Objects without a confidence get the score 1.
        class_names: by class name or class number, the object type; or None if the classes are object types already.

    Returns:
        The arguments of `Detections`, by name.

    Raises:
        ValueError: an object has no class, or a class that is no object type.
    """
    n = len(value)
    missing = [None] * n
    numbers = missing if value.class_id is None else np.asarray(value.class_id).tolist()
    names = np.asarray(value.data.get("class_name", missing)).tolist()
    types = [_class_of(name, number, class_names) for name, number in zip(names, numbers, strict=True)]
    masks = () if value.mask is None else tuple(_cropped(np.asarray(mask, np.bool_)) for mask in value.mask)
    return {
        "boxes": np.array(value.xyxy, np.float32).reshape(n, 4),
        "scores": np.ones(n, np.float32) if value.confidence is None else np.asarray(value.confidence, np.float32),
        "types": [object_type.number for object_type in types],
        "models": np.asarray(value.data.get("model", ["supervision"] * n), np.str_),
        "track_ids": np.full(n, -1) if value.tracker_id is None else np.asarray(value.tracker_id),
        "masks": masks,
    }


def to_coco_rows(
    objects: Iterable[Detection], image_id: int | str, size_hw: tuple[int, int] | None, first_id: int
) -> list[dict[str, Any]]:
    """Make rows of COCO's results; see `Detections.to_coco`.

    Args:
        objects: the detections of one image.
        image_id: the id of the image.
        size_hw: height and width of the image in pixels, or None for no masks.
        first_id: the id of the first row; the next rows count up from it.

    Returns:
        A dict of JSON values for each object. `bbox` is x, y, width and height in pixels.
    """
    rows = []
    for number, detection in enumerate(objects, first_id):
        x1, y1, x2, y2 = detection.box
        row: dict[str, Any] = {
            "id": number,
            "image_id": image_id,
            "category_id": detection.object_type.number + 1,
            "category_name": detection.object_type.value,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "score": detection.score,
            "iscrowd": 0,
        }
        if detection.mask is not None and size_hw is not None:
            row |= {
                "segmentation": _run_lengths(detection.mask.full(size_hw)),
                "area": int(detection.mask.pixels.sum()),
            }
        rows.append(row)
    return rows


def columns_from_coco(rows: Iterable[Mapping[str, Any]], category_names: Mapping[int, str] | None) -> Columns:
    """Read rows of COCO's results or annotations; see `Detections.from_coco`.

    Args:
        rows: dicts with `bbox` (x, y, width, height in pixels) and `category_id`. `score` (default: 1) and
            `segmentation` (default: no mask) are optional.
        category_names: by category id, the object type; or None if the ids are those of `to_coco_rows`.

    Returns:
        The arguments of `Detections`, by name.

    Raises:
        ValueError: a category is no object type.
        KeyError: a row has no box or no category.
    """
    rows = list(rows)
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    names = category_names
    if names is None:
        names = {object_type.number + 1: object_type.value for object_type in OBJECT_TYPES}
    return {
        "boxes": boxes.astype(np.float32),
        "scores": np.array([row.get("score", 1.0) for row in rows], np.float32),
        "types": [_class_of(None, row["category_id"], names).number for row in rows],
        "models": np.array(["coco"] * len(rows), np.str_),
        "masks": tuple(_mask_of_coco(row.get("segmentation")) for row in rows),
    }


def to_data_frame(objects: Iterable[Detection]) -> pandas.DataFrame:
    """Make a `pandas.DataFrame`; see `Detections.to_pandas`."""
    columns = ["type", "score", "x1", "y1", "x2", "y2", "model", "source", "track_id", "has_mask"]
    rows = [
        (
            detection.object_type.value, detection.score, *detection.box, detection.model, detection.source.value,
            -1 if detection.track_id is None else detection.track_id, detection.mask is not None,
        )
        for detection in objects
    ]  # fmt: skip
    return cast("pandas.DataFrame", _optional("pandas").DataFrame(rows, columns=columns))


def columns_from_data_frame(frame: pandas.DataFrame) -> Columns:
    """Read a `pandas.DataFrame`; see `Detections.from_pandas`.

    Args:
        frame: a row for each object, with the columns `type`, `x1`, `y1`, `x2` and `y2`. The columns `score` (default:
            1), `model`, `source` and `track_id` are optional.

    Returns:
        The arguments of `Detections`, by name.

    Raises:
        ValueError: a column is missing, or a type is no object type.
    """
    missing = [column for column in ("type", "x1", "y1", "x2", "y2") if column not in frame]
    if missing:
        raise ValueError(f"The data frame has no column {', '.join(missing)}.")
    count = len(frame)
    columns: Columns = {
        "boxes": frame[["x1", "y1", "x2", "y2"]].to_numpy(np.float32),
        "scores": frame["score"].to_numpy(np.float32) if "score" in frame else np.ones(count, np.float32),
        "types": [_object_type(name).number for name in frame["type"]],
        "models": np.array(frame["model"] if "model" in frame else ["pandas"] * count, np.str_),
    }
    if "source" in frame:
        columns["sources"] = np.array(frame["source"], np.str_)
    if "track_id" in frame:
        columns["track_ids"] = frame["track_id"].to_numpy(np.int64)
    return columns


def _full_mask(detection: Detection, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask in the size of the image; the filled box for an object that has none."""
    if detection.mask is not None:
        return detection.mask.full(size_hw)
    height, width = size_hw
    x1, y1, x2, y2 = np.clip(detection.box, 0, (width, height, width, height))
    whole = np.zeros(size_hw, np.bool_)
    whole[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))] = True
    return whole


def _optional(package: str) -> Any:
    """Import a package that the project does not require."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"This needs the package {package}: run `pip install {package}`.") from error


def _class_of(name: str | None, number: int | None, class_names: Mapping[Any, str] | None) -> ObjectType:
    """The object type of a class that has a name, a number or both."""
    keys = [key for key in (name, number) if key is not None]
    if not keys:
        raise ValueError("the detections have no classes: they need class_id or data['class_name']")
    if class_names is None:
        return _object_type(keys[0])
    known = [key for key in keys if key in class_names]
    if not known:
        raise ValueError(f"class {keys[0]!r} is not one of the given names: {', '.join(map(repr, class_names))}")
    return _object_type(class_names[known[0]])


def _object_type(name: str | int) -> ObjectType:
    """The object type of a name, or of an index in `OBJECT_TYPES`."""
    if isinstance(name, int) and 0 <= name < len(OBJECT_TYPES):
        return OBJECT_TYPES[name]
    spelled = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if spelled not in OBJECT_TYPES:
        raise ValueError(f"class {name!r} is no object type, but must be one of {', '.join(OBJECT_TYPES)}")
    return ObjectType(spelled)


def _cropped(whole: NDArray[np.bool_]) -> Mask | None:
    """A mask of the size of an image, cropped to its object; None if no pixel belongs to it."""
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    if not len(rows):
        return None
    y, x = int(rows[0]), int(columns[0])
    return Mask(x, y, whole[y : rows[-1] + 1, x : columns[-1] + 1].copy())


def _run_lengths(whole: NDArray[np.bool_]) -> dict[str, object]:
    """A mask in COCO's compressed run-length code, as JSON takes it."""
    from faster_coco_eval.core import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(whole, np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def _mask_of_coco(segmentation: Any) -> Mask | None:
    """A mask from run lengths, compressed or not, or from polygons; None if there is none."""
    if not segmentation:
        return None
    from faster_coco_eval.core import mask as coco_mask

    if isinstance(segmentation, Mapping):
        height, width = segmentation["size"]
        code = dict(segmentation)
        if not isinstance(code["counts"], str | bytes):
            code = coco_mask.frPyObjects(code, height, width)
    else:
        corners = [np.asarray(polygon, float) for polygon in segmentation]
        width, height = (int(np.ceil(max(corner[axis::2].max() for corner in corners))) + 1 for axis in (0, 1))
        code = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    return _cropped(np.asarray(coco_mask.decode(code), np.bool_))
