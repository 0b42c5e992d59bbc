"""Labelled sets: pictures, and the objects that are known to be in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.coco import coco_file, read_coco
from anonymizer.evaluation.datasets.image_files import upright_size
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import Label, Labels, PictureLabels
from anonymizer.evaluation.datasets.voc import label_files, read_voc
from anonymizer.evaluation.datasets.yolo import is_yolo, read_yolo
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.images.io import load_image

__all__ = ["LabelledImage", "LabelledSet", "Objects"]

Box = tuple[float, float, float, float]

#: pixels by which a box may leave the picture and be clipped without a word: labels are rounded
_ROUNDING = 1.0


@dataclass(frozen=True)
class Objects:
    """The objects of one type in one picture.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright picture, inside of it.
        ignored: (n,) bool; these are neither to be found nor to be missed.
        outlines: for each object the polygons whose union it is, each (k, 2) float32 x, y in the same pixels, or None
            where only its box is known; () where that holds for all of them.
    """

    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    outlines: tuple[tuple[NDArray[np.float32], ...] | None, ...] = ()


@dataclass(frozen=True)
class LabelledImage:
    """A picture and what is known of it.

    Attributes:
        source: the set that it came from.
        labelled: the types of which every object is labelled; of the others the labels say nothing that counts.
        objects: of every type, also of those that are not labelled completely.
        size_hw: of the upright picture in pixels.
    """

    id: int
    path: Path
    source: str
    labelled: tuple[ObjectType, ...]
    objects: dict[ObjectType, Objects]
    size_hw: tuple[int, int] | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB, upright: exactly what the service would look at.

        Raises:
            ValueError: the file cannot be read.
        """
        try:
            return load_image(self.path)
        except (AnonymizerError, OSError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with labels.

    Attributes:
        name: of the file or folder that it was read from.
        problems: what was wrong there; the pictures that it concerns are left out (see `ProblemKind`).
    """

    images: tuple[LabelledImage, ...]
    name: str = ""
    problems: Problems = field(default_factory=Problems, compare=False)

    @classmethod
    def read(
        cls, path: Path | str, *, labelled: Sequence[ObjectType] | None = None, strict: bool = False
    ) -> LabelledSet:
        """From a COCO file (or a folder with one), a YOLO folder (or its YAML file), or a folder of Pascal VOC files.

        Args:
            labelled: the types of which every object is labelled, in every picture. Without, what a COCO file says of
                each picture (`labelled`), else all types that the set has a name for.
            strict: the first problem raises.

        Raises:
            BadSet: there is a problem, and `strict`.
            FileNotFoundError: there is no such path.
            ValueError: the path is of no kind that is read, or holds several sets.
        """
        path, problems = Path(path), Problems(strict)
        labels = _labels(path, problems)
        name = _name(path)
        chosen = None if labelled is None else tuple(ObjectType(each) for each in labelled)
        images = tuple(_images(labels, name, chosen, problems)) if labels else ()
        if nothing := _nothing(labels, images):
            problems.add(ProblemKind.EMPTY_SET, str(path), nothing)
        return cls(images, name, problems)

    def of(self, sources: Sequence[str], limit: int | None = None) -> Iterator[LabelledImage]:
        """The images of some sources of which at least one type is labelled completely, so many of each source."""
        seen: Counter[str] = Counter()
        for image in self.images:
            if image.labelled and image.source in sources:
                seen[image.source] += 1
                if limit is None or seen[image.source] <= limit:
                    yield image

    def subset(self, images: Iterable[LabelledImage]) -> LabelledSet:
        """The same set with these images only."""
        return replace(self, images=tuple(images))


def _name(path: Path) -> str:
    path = path.resolve()
    if path.is_dir():
        return path.name
    # what exporters call every set says nothing: its folder does
    return path.parent.name if path.stem in ("_annotations.coco", "data", "dataset") else path.stem


def _labels(path: Path, problems: Problems) -> Labels | None:
    """What the labels say; None where there are none."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_file():
        readers = {".json": read_coco, ".yaml": read_yolo, ".yml": read_yolo}
        if path.suffix.lower() not in readers:
            raise ValueError(
                f"path is {str(path)!r}, but must be a folder, a COCO file (.json) or a YOLO file (.yaml)."
            )
        return readers[path.suffix.lower()](path, problems)
    if is_yolo(path):
        return read_yolo(path, problems)
    if files := label_files(path):
        return read_voc(path, files, problems)
    if file := coco_file(path):
        return read_coco(file, problems)
    return None


def _nothing(labels: Labels | None, images: Sequence[LabelledImage]) -> str | None:
    """Why the set is empty, where it is."""
    if labels is None:
        return "there is no COCO file, YOLO folder or Pascal VOC folder"
    if not labels.pictures:
        return "there is no picture with labels"
    if not images:
        return f"none of its {len(labels.pictures)} pictures can be used"
    if not any(image.labelled or any(len(each.boxes) for each in image.objects.values()) for image in images):
        return f"no object of its {len(images)} pictures has a known type"
    return None


def _images(
    labels: Labels, name: str, labelled: tuple[ObjectType, ...] | None, problems: Problems
) -> Iterator[LabelledImage]:
    own_ids = all(each.id is not None for each in labels.pictures)
    for number, picture in enumerate(labels.pictures, start=1):
        size_hw = _size(picture, problems)
        if size_hw is None:
            continue
        known = labels.types if picture.labelled is None else picture.labelled
        yield LabelledImage(
            id=picture.id if own_ids and picture.id is not None else number,
            path=picture.path,
            source=name if picture.source is None else picture.source,
            labelled=known if labelled is None else labelled,
            objects=_objects(picture, size_hw, problems),
            size_hw=size_hw,
        )


def _size(picture: PictureLabels, problems: Problems) -> tuple[int, int] | None:
    """Of the upright picture; None where it cannot be told, or where the labels name another one."""
    try:
        height, width = upright_size(picture.path)
    except (AnonymizerError, OSError) as error:
        problems.add(ProblemKind.PICTURE_BROKEN, picture.name, str(error))
        return None
    if picture.size_hw not in (None, (height, width)):
        why = ": EXIF turns it upright" if picture.size_hw == (width, height) else ""
        stated = "the labels are for {1} x {0} pixels".format(*picture.size_hw or ())
        problems.add(ProblemKind.SIZE_DIFFERS, picture.name, f"{stated}, but it has {width} x {height}{why}")
        return None
    return height, width


def _objects(picture: PictureLabels, size_hw: tuple[int, int], problems: Problems) -> dict[ObjectType, Objects]:
    size_wh = np.array(size_hw[::-1], np.float64)
    scale = size_wh if picture.fractions else np.ones(2)
    kept: dict[ObjectType, list[tuple[Box, Label]]] = {each: [] for each in OBJECT_TYPES}
    for label in picture.labels:
        x1, y1, x2, y2 = (label.box.reshape(2, 2) * scale).ravel().tolist()
        if problem := _problem((x1, y1, x2, y2), size_hw):
            problems.add(problem[0], f"{picture.name}, {label.where}", problem[1])
        box = max(x1, 0.0), max(y1, 0.0), min(x2, size_hw[1]), min(y2, size_hw[0])
        if problem is None or problem[0] is ProblemKind.BOX_CLIPPED:
            kept[label.object_type].append((box, label))
    return {
        object_type: Objects(
            np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
            np.array([label.ignored for _, label in rows], bool),
            _outlines([label for _, label in rows], scale, size_wh),
        )
        for object_type, rows in kept.items()
    }


def _problem(box: Box, size_hw: tuple[int, int]) -> tuple[ProblemKind, str] | None:
    """What is wrong with where a box lies."""
    x1, y1, x2, y2 = box
    height, width = size_hw
    shown = f"the box (x {x1:g} to {x2:g}, y {y1:g} to {y2:g})"
    if x2 <= x1 or y2 <= y1:
        return ProblemKind.BOX_EMPTY, f"{shown} has no area"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return ProblemKind.BOX_OUTSIDE, f"{shown} lies outside the picture ({width} x {height})"
    if max(-x1, -y1, x2 - width, y2 - height) > _ROUNDING:
        return ProblemKind.BOX_CLIPPED, f"{shown} lies partly outside the picture ({width} x {height})"
    return None


def _outlines(
    labels: Sequence[Label], scale: NDArray[np.float64], size_wh: NDArray[np.float64]
) -> tuple[tuple[NDArray[np.float32], ...] | None, ...]:
    if all(each.outline is None for each in labels):
        return ()
    return tuple(
        None
        if each.outline is None
        else tuple(np.clip(polygon * scale, 0, size_wh).astype(np.float32) for polygon in each.outline)
        for each in labels
    )
