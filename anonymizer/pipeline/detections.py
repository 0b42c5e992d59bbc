"""Detections: what detectors report for one image, as arrays side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast, overload

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer.pipeline.detected_object import OBJECT_TYPES, Detection, Mask, ObjectType, Source
from anonymizer.pipeline.detection_formats import (
    columns_from_coco,
    columns_from_data_frame,
    columns_from_supervision,
    to_coco_rows,
    to_data_frame,
    to_supervision,
)

if TYPE_CHECKING:
    import pandas
    import supervision

__all__ = ["OBJECT_TYPES", "Detection", "Detections", "Mask", "ObjectType", "Source"]

#: how many objects the table of a notebook shows
SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True, repr=False)
class Detections:
    """n objects of one image, as arrays side by side.

    Examples:
        >>> (detections,) = Anonymizer().detect("street.jpg")
        >>> confident = detections[detections.scores > 0.5]
        >>> faces = detections.of_type(ObjectType.FACE)
        >>> for detection in detections:
        ...     print(detection.object_type, detection.score, detection.box)

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright image, right and bottom exclusive.
        scores: (n,) float32, 0..1.
        types: (n,) uint8, index into `OBJECT_TYPES`.
        models: (n,) str, id of the model that detected the object.
        sources: (n,) str, a `Source`; default: detector.
        track_ids: (n,) int64, -1 for objects without a track; default: -1.
        masks: n masks, None for objects without a segmentation; default: None.

    Raises:
        ValueError: an array does not have n entries.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    types: NDArray[np.uint8]
    models: NDArray[np.str_]
    sources: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, "U16"))
    track_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    masks: tuple[Mask | None, ...] = ()

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must have the shape (n, 4), not {boxes.shape}")
        n = len(boxes)
        put = object.__setattr__
        put(self, "boxes", boxes)
        put(self, "scores", np.asarray(self.scores, np.float32))
        put(self, "types", np.asarray(self.types, np.uint8))
        put(self, "models", np.asarray(self.models, np.str_))
        put(self, "sources", np.asarray(self.sources, "U16"))
        if n and not len(self.sources):
            put(self, "sources", np.full(n, Source.DETECTOR.value, "U16"))
        if n and not len(self.track_ids):
            put(self, "track_ids", np.full(n, -1, np.int64))
        if n and not self.masks:
            put(self, "masks", (None,) * n)
        for name in ("scores", "types", "models", "sources", "track_ids"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"{name} must have the shape ({n},) as there are {n} boxes, not {shape}")
        if len(self.masks) != n:
            raise ValueError(f"masks must have {n} entries as there are {n} boxes, not {len(self.masks)}")

    @classmethod
    def empty(cls) -> Detections:
        """Make detections without any object: a normal value, not an error."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.uint8), np.empty(0, np.str_))

    @classmethod
    def merge(cls, parts: Iterable[Detections]) -> Detections:
        """Join several detections into one; the order stays."""
        filled = [part for part in parts if len(part)]
        if not filled:
            return cls.empty()
        arrays = {f.name: np.concatenate([getattr(part, f.name) for part in filled]) for f in fields(cls)[:-1]}
        return cls(**arrays, masks=tuple(mask for part in filled for mask in part.masks))

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Detection: ...

    @overload
    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp] | slice | Sequence[int]) -> Detections: ...

    def __getitem__(
        self, index: int | np.integer[Any] | NDArray[np.bool_] | NDArray[np.intp] | slice | Sequence[int]
    ) -> Detection | Detections:
        """Get one object by its number, or several by a boolean array, an array of numbers or a slice.

        Raises:
            IndexError: there are fewer objects.
        """
        if isinstance(index, int | np.integer):
            return self._one(int(index))
        rows = np.arange(len(self))[index]
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self)[:-1]}
        return Detections(**arrays, masks=tuple(self.masks[row] for row in rows))

    def _one(self, index: int) -> Detection:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range: there are {len(self)} objects")
        x1, y1, x2, y2 = (float(side) for side in self.boxes[index])
        track_id = int(self.track_ids[index])
        return Detection(
            box=(x1, y1, x2, y2),
            object_type=self.object_type(index),
            score=float(self.scores[index]),
            model=str(self.models[index]),
            source=Source(str(self.sources[index])),
            track_id=track_id if track_id >= 0 else None,
            mask=self.masks[index],
        )

    def __repr__(self) -> str:
        """How many objects there are of each type."""
        counts = ", ".join(f"{count} {object_type}" for object_type, count in self.count_by_type().items())
        return f"Detections({len(self)} objects{': ' if counts else ''}{counts})"

    def _repr_html_(self) -> str:
        """A table of the first objects."""
        rows = [
            [d.object_type.words, round(d.score, 3), str([round(side) for side in d.box]), d.model]
            for d in self[:SHOWN_ROWS]
        ]
        more = len(self) - len(rows)
        note = f"... {more} more" if more else ""
        return html_table(["type", "score", "box", "model"], rows, title=f"{len(self)} objects", note=note)

    def of_type(self, *object_types: ObjectType) -> Detections:
        """Get the objects of the given types."""
        return self[np.isin(self.types, [object_type.number for object_type in object_types])]

    def count_by_type(self) -> dict[ObjectType, int]:
        """Count the objects of each type that occurs."""
        numbers = Counter(self.types.tolist())
        return {object_type: numbers[object_type.number] for object_type in OBJECT_TYPES if numbers[object_type.number]}

    def without_made_masks(self) -> Detections:
        """Remove the masks that a segmenter made; masks of the detectors stay."""
        return replace(self, masks=tuple(None if mask is None or mask.source else mask for mask in self.masks))

    def object_type(self, row: int) -> ObjectType:
        """Get the type of the object with a number."""
        return OBJECT_TYPES[int(self.types[row])]

    def save(self, file: BinaryIO) -> None:
        """Write all objects and masks to a binary file, as a compressed NumPy archive; `load` reads it back."""
        arrays: dict[str, NDArray[np.generic]] = {f.name: getattr(self, f.name) for f in fields(self)[:-1]}
        for row, mask in enumerate(self.masks):
            if mask is not None:
                arrays[f"mask_{row}"] = np.packbits(mask.pixels)
                arrays[f"mask_{row}_at"] = np.array([mask.x, mask.y, *mask.pixels.shape])
                arrays[f"mask_{row}_source"] = np.array(mask.source)
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: BinaryIO) -> Detections:
        """Read a file that `save` wrote.

        Raises:
            ValueError: the file is no such archive.
        """
        with np.load(file, allow_pickle=False) as archive:
            arrays = {f.name: archive[f.name] for f in fields(cls)[:-1]}
            masks = tuple(_load_mask(archive, row) for row in range(len(arrays["boxes"])))
        return cls(**arrays, masks=masks)

    def to_supervision(self, size_hw: tuple[int, int] | None = None) -> supervision.Detections:
        """Convert to `supervision.Detections`; needs the package `supervision`.

        Args:
            size_hw: height and width of the image in pixels, if the masks are wanted too: `supervision` has masks in
                the size of the image. Objects without a mask get their filled box. Default: no masks.

        Returns:
            `class_id` is the index in `OBJECT_TYPES`; `data` has `class_name` and `model`.

        Raises:
            ImportError: the package is not installed.
        """
        return to_supervision(list(self), self.boxes, size_hw)

    @classmethod
    def from_supervision(
        cls, detections: supervision.Detections, class_names: Mapping[Any, str] | None = None
    ) -> Detections:
        """Convert from `supervision.Detections`.

        Args:
            detections: objects without a confidence get the score 1.
            class_names: by class name or class number of `detections`, the object type: `{"car": "vehicle"}`. Default:
                the classes are object types already.

        Raises:
            ValueError: an object has no class, or its class is no object type.
        """
        return cls(**columns_from_supervision(detections, class_names))

    def to_coco(
        self, image_id: int | str, size_hw: tuple[int, int] | None = None, *, first_id: int = 1
    ) -> list[dict[str, Any]]:
        """Convert to rows of COCO, as JSON takes them.

        Args:
            image_id: the id of the image.
            size_hw: height and width of the image in pixels, if the masks are wanted too. Default: no masks.
            first_id: the id of the first row.

        Returns:
            A dict for each object: `bbox` is x, y, width, height; `category_id` is 1 + the index in `OBJECT_TYPES`;
            `segmentation`, if there is a mask, is COCO's compressed run-length code.
        """
        return to_coco_rows(self, image_id, size_hw, first_id)

    @classmethod
    def from_coco(
        cls, rows: Iterable[Mapping[str, Any]], category_names: Mapping[int, str] | None = None
    ) -> Detections:
        """Convert from COCO's annotations or results of one image.

        Args:
            rows: dicts with `bbox` and `category_id`; `score` (default: 1) and `segmentation` are optional.
            category_names: by category id, the object type. Default: the ids of `to_coco`.

        Raises:
            ValueError: a category is no object type.
        """
        return cls(**columns_from_coco(rows, category_names))

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame` with a row for each object; needs the package `pandas`.

        Raises:
            ImportError: the package is not installed.
        """
        return to_data_frame(self)

    @classmethod
    def from_pandas(cls, frame: pandas.DataFrame) -> Detections:
        """Convert from a `pandas.DataFrame` such as `to_pandas` gives. It has no masks.

        Args:
            frame: a row for each object, with the columns `type`, `x1`, `y1`, `x2` and `y2` (pixels). The columns
                `score` (default: 1), `model`, `source` and `track_id` are optional.

        Raises:
            ValueError: a column is missing, or a type is no object type.
        """
        return cls(**columns_from_data_frame(frame))


def _load_mask(archive: np.lib.npyio.NpzFile, row: int) -> Mask | None:
    if f"mask_{row}" not in archive:
        return None
    x, y, height, width = (int(value) for value in archive[f"mask_{row}_at"])
    bits = np.unpackbits(archive[f"mask_{row}"], count=height * width)
    # archives from before masks had a source have none
    source = str(archive[f"mask_{row}_source"]) if f"mask_{row}_source" in archive else ""
    return Mask(x, y, cast("NDArray[np.bool_]", bits.reshape(height, width).astype(bool)), source)
