"""Labelled sets: pictures, and the objects that are known to be in them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.objects import ObjectType

__all__ = ["LabelledImage", "LabelledSet", "Objects"]


@dataclass(frozen=True)
class Objects:
    """The objects of one type in one picture.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels.
        ignored: (n,) bool; these are neither to be found nor to be missed.
    """

    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledImage:
    """A picture and what is known of it.

    Attributes:
        source: the set that it came from.
        labelled: the types of which every object is labelled; of the others the labels say nothing that counts.
        objects: by type, also of types that are not labelled completely.
    """

    id: int
    path: Path
    source: str
    labelled: tuple[ObjectType, ...]
    objects: dict[ObjectType, Objects]

    def pixels(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB.

        Raises:
            ValueError: the file cannot be read.
        """
        image = cv2.imread(str(self.path))
        if image is None:
            raise ValueError(f"{self.path} cannot be read.")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@dataclass(frozen=True)
class LabelledSet:
    """A COCO file with `labelled` and `source` for each image, pictures in the folder of the same name."""

    images: tuple[LabelledImage, ...]

    @classmethod
    def read(cls, file: Path) -> LabelledSet:
        """From `NAME.json` with the pictures in `NAME/`.

        Raises:
            OSError, ValueError, KeyError: the file is no such set.
        """
        rows = json.loads(file.read_text())
        types = {each["id"]: ObjectType(each["name"]) for each in rows["categories"]}
        of_image: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        for each in rows["annotations"]:
            of_image[each["image_id"]].append(each)
        folder = file.with_suffix("")
        return cls(tuple(_image(each, of_image[each["id"]], types, folder) for each in rows["images"]))

    def of(self, sources: Sequence[str], limit: int | None = None) -> Iterator[LabelledImage]:
        """The images of some sources of which at least one type is labelled completely, so many of each source."""
        seen: Counter[str] = Counter()
        for image in self.images:
            if image.labelled and image.source in sources:
                seen[image.source] += 1
                if limit is None or seen[image.source] <= limit:
                    yield image


def _image(
    row: dict[str, Any], annotations: Sequence[dict[str, Any]], types: dict[int, ObjectType], folder: Path
) -> LabelledImage:
    of_type = {
        each: _objects([row for row in annotations if types[row["category_id"]] is each]) for each in types.values()
    }
    labelled = tuple(ObjectType(name) for name in row["labelled"])
    return LabelledImage(row["id"], folder / row["file_name"], row["source"], labelled, of_type)


def _objects(rows: Sequence[dict[str, Any]]) -> Objects:
    boxes = np.array([each["bbox"] for each in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return Objects(boxes, np.array([bool(each.get("ignore") or each.get("iscrowd")) for each in rows], bool))
