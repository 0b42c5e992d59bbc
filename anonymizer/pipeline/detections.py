"""What is found in a picture: object types, and detections as arrays side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["OBJECT_TYPES", "Detections", "Mask", "ObjectType", "Source"]


class ObjectType(StrEnum):
    """The four kinds of things that are found and redacted."""

    FACE = "face"
    LICENSE_PLATE = "license-plate"
    PERSON = "person"
    VEHICLE = "vehicle"

    @property
    def number(self) -> int:
        """Its place in `OBJECT_TYPES`: the number that `Detections.types` holds."""
        return OBJECT_TYPES.index(self)

    @property
    def code(self) -> int:
        """`type` in the metadata (contract: face 103; the others are ours)."""
        return _CODES[self]

    @property
    def flag(self) -> int:
        """Its bit in the blue channel of an instance mask."""
        return _FLAGS[self]

    @property
    def legacy_flag(self) -> int:
        """Its blue value in the older layout of instance masks."""
        return _LEGACY_FLAGS[self]

    @property
    def words(self) -> str:
        """The name in a sentence: "license plate"."""
        return self.value.replace("-", " ")


OBJECT_TYPES: tuple[ObjectType, ...] = tuple(ObjectType)
_FACE, _PLATE, _PERSON, _VEHICLE = OBJECT_TYPES
_CODES = {_PERSON: 101, _VEHICLE: 102, _FACE: 103, _PLATE: 104}
_FLAGS = {_PERSON: 128, _PLATE: 64, _FACE: 32, _VEHICLE: 16}
_LEGACY_FLAGS = {_PLATE: 64, _PERSON: 128, _FACE: 192, _VEHICLE: 255}


class Source(StrEnum):
    """What says that there is an object."""

    DETECTOR = "detector"
    TRACKER = "tracker"


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of one object, cropped to where they are.

    Attributes:
        x, y: left and top of the crop, in pixels of the upright image.
        pixels: bool, (height, width); True belongs to the object.
        source: id of the segmenter that made it, `box` where it stands in for one; empty where the detector did.
    """

    x: int
    y: int
    pixels: NDArray[np.bool_]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Detections:
    """n objects of one image, as arrays side by side.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright image, right and bottom exclusive.
        scores: (n,) float32, 0..1.
        types: (n,) uint8, index into `OBJECT_TYPES`.
        models: (n,) str, id of the model that found it.
        sources: (n,) str, a `Source`.
        track_ids: (n,) int64, -1 where there is none.
        masks: n masks, None where the object has no segmentation. May be left out.

    Raises:
        ValueError: an array has another shape than the boxes ask for.
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
        for each in ("scores", "types", "models", "sources", "track_ids"):
            shape = getattr(self, each).shape
            if shape != (n,):
                raise ValueError(f"{each} must have the shape ({n},) as there are {n} boxes, not {shape}")
        if len(self.masks) != n:
            raise ValueError(f"masks must have {n} entries as there are {n} boxes, not {len(self.masks)}")

    @classmethod
    def empty(cls) -> Detections:
        """No object at all: a normal value, not an error."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.uint8), np.empty(0, np.str_))

    @classmethod
    def merge(cls, parts: Iterable[Detections]) -> Detections:
        """All objects of all parts, in their order."""
        found = [part for part in parts if len(part)]
        if not found:
            return cls.empty()
        arrays = {f.name: np.concatenate([getattr(part, f.name) for part in found]) for f in fields(cls)[:-1]}
        return cls(**arrays, masks=tuple(mask for part in found for mask in part.masks))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp] | slice | Sequence[int]) -> Detections:
        """The objects that a boolean array, an array of numbers or a slice picks."""
        rows = np.arange(len(self))[index]
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self)[:-1]}
        return Detections(**arrays, masks=tuple(self.masks[row] for row in rows))

    def of_type(self, *object_types: ObjectType) -> Detections:
        """Those of the given object types."""
        return self[np.isin(self.types, [each.number for each in object_types])]

    def count_by_type(self) -> dict[ObjectType, int]:
        """How many there are of each object type that occurs."""
        counts = {each: int((self.types == each.number).sum()) for each in OBJECT_TYPES}
        return {each: n for each, n in counts.items() if n}

    def without_made_masks(self) -> Detections:
        """Without the masks that a segmenter made; those of the detectors stay."""
        return replace(self, masks=tuple(None if mask is None or mask.source else mask for mask in self.masks))

    def object_type(self, row: int) -> ObjectType:
        """The object type of one of them."""
        return OBJECT_TYPES[int(self.types[row])]

    def save(self, file: BinaryIO) -> None:
        """Write them as a compressed NumPy archive that `load` reads back, masks included."""
        arrays: dict[str, NDArray[np.generic]] = {f.name: getattr(self, f.name) for f in fields(self)[:-1]}
        for row, mask in enumerate(self.masks):
            if mask is not None:
                arrays[f"mask_{row}"] = np.packbits(mask.pixels)
                arrays[f"mask_{row}_at"] = np.array([mask.x, mask.y, *mask.pixels.shape])
                arrays[f"mask_{row}_source"] = np.array(mask.source)
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, file: BinaryIO) -> Detections:
        """Read what `save` wrote.

        Raises:
            ValueError: the file is not such an archive.
        """
        with np.load(file, allow_pickle=False) as archive:
            arrays = {f.name: archive[f.name] for f in fields(cls)[:-1]}
            masks = tuple(_load_mask(archive, row) for row in range(len(arrays["boxes"])))
        return cls(**arrays, masks=masks)


def _load_mask(archive: np.lib.npyio.NpzFile, row: int) -> Mask | None:
    if f"mask_{row}" not in archive:
        return None
    x, y, height, width = (int(value) for value in archive[f"mask_{row}_at"])
    bits = np.unpackbits(archive[f"mask_{row}"], count=height * width)
    # archives from before masks had a source have none
    source = str(archive[f"mask_{row}_source"]) if f"mask_{row}_source" in archive else ""
    return Mask(x, y, cast("NDArray[np.bool_]", bits.reshape(height, width).astype(bool)), source)
