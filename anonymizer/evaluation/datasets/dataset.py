"""Labelled sets: images, and the objects that are labelled in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anonymizer._html import html_table
from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.image_files import upright_size
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.label_formats import read_labels
from anonymizer.evaluation.datasets.records import Label, Labels, PictureLabels
from anonymizer.evaluation.datasets.set_summary import ReadLabels
from anonymizer.pipeline.detections import OBJECT_TYPES, ObjectType
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.images.io import load_image

__all__ = ["LabelledImage", "LabelledSet", "Objects"]

Box = tuple[float, float, float, float]

#: A box may exceed the image by this number of pixels without being a problem, because labels are rounded.
_ROUNDING = 1.0


@dataclass(frozen=True)
class Objects:
    """The objects of one type in one image.

    Attributes:
        boxes: (n, 4) float32, x1, y1, x2, y2 in pixels of the upright image, inside it.
        ignored: (n,) bool, whether the object is ignored: neither a hit nor a miss.
        outlines: the outline of each object, as polygons whose union is the object. Each polygon is (k, 2) float32 x, y
            in pixels. None: only the box is labelled. Empty: no object has an outline.
    """

    boxes: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    outlines: tuple[tuple[NDArray[np.float32], ...] | None, ...] = ()

    def __repr__(self) -> str:
        ignored, outlined = int(self.ignored.sum()), sum(outline is not None for outline in self.outlines)
        return f"Objects({len(self.boxes)} boxes, {ignored} ignored, {outlined} outlines)"


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels.

    Attributes:
        id: its number in the label file, or its position in the set.
        path: of the image file.
        source: the name of the data set that it came from.
        labelled: the types of which every object is labelled. The other types are not evaluated in this image.
        objects: the labelled objects of every type, also of types that are not fully labelled.
        size_hw: height and width in pixels of the upright image; None if unknown.
    """

    id: int
    path: Path
    source: str
    labelled: tuple[ObjectType, ...]
    objects: dict[ObjectType, Objects]
    size_hw: tuple[int, int] | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """Read the image exactly as the service does.

        Returns:
            (h, w, 3) uint8 RGB, upright.

        Raises:
            ValueError: the file cannot be read.
        """
        try:
            return load_image(self.path)
        except (AnonymizerError, OSError) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error

    def __repr__(self) -> str:
        counts = _counts_text({object_type: len(of_type.boxes) for object_type, of_type in self.objects.items()})
        return f"LabelledImage({self.id}, {self.path.name[-100:]!r}, {counts})"


@dataclass(frozen=True)
class LabelledSet:
    """Images with labels.

    Examples:
        >>> labelled = LabelledSet.read("my-images")
        >>> labelled
        LabelledSet('my-images', 120 images; objects: face 431, license-plate 80)

    Attributes:
        images: the images.
        name: the name of the file or folder that it was read from.
        problems: what was wrong with the labels and files. Images with a problem are left out (see `ProblemKind`).
        read_labels: the format, the classes and the images without labels, as they were in the label files.
    """

    images: tuple[LabelledImage, ...]
    name: str = ""
    problems: Problems = field(default_factory=Problems, compare=False)
    read_labels: ReadLabels = field(default_factory=ReadLabels, compare=False, repr=False)

    @classmethod
    def read(
        cls,
        path: Path | str,
        *,
        labelled: Sequence[ObjectType] | None = None,
        names: Mapping[str, str] | None = None,
        strict: bool = False,
    ) -> LabelledSet:
        """Read a labelled set in the format of COCO, YOLO, Pascal VOC, CVAT (XML 1.1) or Label Studio (JSON).

        Args:
            path: a COCO or Label Studio file (.json), a CVAT file (.xml), or a folder with one of these. For YOLO the
                folder or its YAML file, for Pascal VOC the folder.
            names: by class name, the object type, or `none` for labels that are left out: `{"visage": "face"}`.
                Default: only the names that are known.
            labelled: the types of which every object is labelled in every image. Default: what a COCO file states for
                each image (`labelled`), otherwise all types that the set has a class for.
            strict: raise an error for the first problem; default: collect all problems in `problems`.

        Returns:
            The set.

        Raises:
            InvalidDataset: there is a problem, and `strict` is set.
            FileNotFoundError: the path does not exist.
            ValueError: the path is not a labelled set of a known format, or it contains several sets.
        """
        path, problems, class_names = Path(path), Problems(strict), ClassNames(names)
        labels = read_labels(path, problems, class_names)
        name = _name(path)
        chosen = None if labelled is None else tuple(ObjectType(name) for name in labelled)
        images = tuple(_images(labels, name, chosen, problems)) if labels else ()
        if reason := _why_empty(labels, images):
            problems.add(ProblemKind.EMPTY_SET, str(path), reason)
        return cls(images, name, problems, ReadLabels.of(labels, class_names))

    def of(self, sources: Sequence[str], limit: int | None = None) -> Iterator[LabelledImage]:
        """Iterate over the images of some sources in which at least one type is fully labelled.

        Args:
            sources: names of data sets (`LabelledImage.source`).
            limit: the most images of each source; default: all.
        """
        counts: Counter[str] = Counter()
        for image in self.images:
            if image.labelled and image.source in sources:
                counts[image.source] += 1
                if limit is None or counts[image.source] <= limit:
                    yield image

    def subset(self, images: Iterable[LabelledImage]) -> LabelledSet:
        """Get a set with the same name and problems, but only these images.

        Args:
            images: of this set.
        """
        return replace(self, images=tuple(images))

    def summary(self) -> str:
        """Describe what was read: the format, the classes, and the images without labels, as lines of text."""
        empty = sum(not any(len(of_type.boxes) for of_type in image.objects.values()) for image in self.images)
        counts = [
            f"{row.object_type.words} {row.objects} in {row.images} images" for row in self._type_rows() if row.images
        ]
        types = f"Fully labelled: {', '.join(counts) or 'nothing'}."
        return "\n".join([f"{self.name}: {self.read_labels.summary(len(self.images), empty)}", types])

    def __repr__(self) -> str:
        counts = _counts_text({row.object_type: row.objects for row in self._type_rows()})
        problems = f"; {len(self.problems)} problems" if self.problems else ""
        return f"LabelledSet({self.name[-60:]!r}, {len(self.images)} images; objects: {counts}{problems})"

    def _repr_html_(self) -> str:
        rows = [(row.object_type.words, row.images, row.objects, row.ignored) for row in self._type_rows()]
        columns = ("type", "images in which it is fully labelled", "objects", "ignored objects")
        note = "" if not self.problems else f"The set has {len(self.problems)} problems: print(labelled.problems)."
        return html_table(columns, rows, title=f"{self.name}: {len(self.images)} images", note=note)

    def _type_rows(self) -> Iterator[_TypeRow]:
        """The counts of each object type that has objects or is fully labelled somewhere."""
        for object_type in OBJECT_TYPES:
            of_type = [image.objects[object_type] for image in self.images if object_type in image.objects]
            total, ignored = sum(len(o.boxes) for o in of_type), sum(int(o.ignored.sum()) for o in of_type)
            labelled = sum(object_type in image.labelled for image in self.images)
            if total or labelled:
                yield _TypeRow(object_type, labelled, total - ignored, ignored)


@dataclass(frozen=True)
class _TypeRow:
    """One row of the table of a set."""

    object_type: ObjectType
    images: int
    objects: int
    ignored: int


def _counts_text(counts: Mapping[ObjectType, int]) -> str:
    return ", ".join(f"{object_type} {count}" for object_type, count in counts.items() if count) or "no objects"


def _name(path: Path) -> str:
    path = path.resolve()
    if path.is_dir():
        return path.name
    # exporters give every set the same file name, so take the name of its folder
    return path.parent.name if path.stem in ("_annotations.coco", "data", "dataset") else path.stem


def _why_empty(labels: Labels | None, images: Sequence[LabelledImage]) -> str | None:
    """Why the set is empty; None if it is not."""
    if labels is None:
        return "there are no labels of COCO, YOLO, Pascal VOC, CVAT or Label Studio"
    if not labels.pictures:
        return "there is no picture with labels"
    if not images:
        return f"none of its {len(labels.pictures)} pictures can be used"
    if not any(image.labelled or any(len(of_type.boxes) for of_type in image.objects.values()) for image in images):
        return f"no object of its {len(images)} pictures has a known type"
    return None


def _images(
    labels: Labels, name: str, labelled: tuple[ObjectType, ...] | None, problems: Problems
) -> Iterator[LabelledImage]:
    has_ids = all(picture.id is not None for picture in labels.pictures)
    for number, picture in enumerate(labels.pictures, start=1):
        size_hw = _size(picture, problems)
        if size_hw is None:
            continue
        known = labels.types if picture.labelled is None else picture.labelled
        yield LabelledImage(
            id=picture.id if has_ids and picture.id is not None else number,
            path=picture.path,
            source=name if picture.source is None else picture.source,
            labelled=known if labelled is None else labelled,
            objects=_objects(picture, size_hw, problems),
            size_hw=size_hw,
        )


def _size(picture: PictureLabels, problems: Problems) -> tuple[int, int] | None:
    """The size of the upright image; None if it cannot be read, or if the labels state another size."""
    try:
        height, width = upright_size(picture.path)
    except (AnonymizerError, OSError) as error:
        problems.add(ProblemKind.PICTURE_BROKEN, picture.name, str(error))
        return None
    if picture.size_hw not in (None, (height, width)):
        why = ": EXIF rotates it" if picture.size_hw == (width, height) else ""
        stated = "the labels are for {1} x {0} pixels".format(*picture.size_hw or ())
        problems.add(ProblemKind.SIZE_DIFFERS, picture.name, f"{stated}, but it has {width} x {height}{why}")
        return None
    return height, width


def _objects(picture: PictureLabels, size_hw: tuple[int, int], problems: Problems) -> dict[ObjectType, Objects]:
    size_wh = np.array(size_hw[::-1], np.float64)
    scale = size_wh if picture.fractions else np.ones(2)
    kept: dict[ObjectType, list[tuple[Box, Label]]] = {object_type: [] for object_type in OBJECT_TYPES}
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
    """What is wrong with the position of a box; None if nothing is."""
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
    if all(label.outline is None for label in labels):
        return ()
    return tuple(
        None
        if label.outline is None
        else tuple(np.clip(polygon * scale, 0, size_wh).astype(np.float32) for polygon in label.outline)
        for label in labels
    )
