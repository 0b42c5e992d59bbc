"""Read CVAT files: XML 1.1 for images (docs.cvat.ai, "CVAT for images").

Boxes, polygons, ellipses and masks are read, also turned ones. Tracks of videos are not: CVAT exports them in the MOT
format too, which `LabelledTracks.read_mot` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml.ElementTree import fromstring, iterparse  # type: ignore[import-untyped]
from numpy.typing import NDArray

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.image_files import PictureFinder
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import (
    BrokenLabel,
    Label,
    Labels,
    PictureLabels,
    add_unknown,
    bounds,
    ellipse,
    mask_contours,
    numbers,
    polygon,
    stated_size,
    turned_box,
)
from anonymizer.pipeline.limits import Limits

__all__ = ["is_cvat", "read_cvat"]

_ROOT = "annotations"
#: shapes that surround an object; others, such as points, do not say where it ends
_SHAPES = ("box", "polygon", "ellipse", "mask")
_OTHER_SHAPES = ("polyline", "points", "cuboid", "skeleton")
_YES = ("1", "true", "True", "yes")

Outline = tuple[NDArray[np.float64], ...]


def is_cvat(file: Path) -> bool:
    """Tell whether an XML file is one of CVAT: its first element is `annotations`.

    Args:
        file: the XML file.
    """
    try:
        for _, element in iterparse(file, events=("start",), forbid_dtd=True):
            return bool(element.tag == _ROOT)
    except (OSError, ParseError, ValueError, LookupError):
        pass
    return False


def read_cvat(file: Path, problems: Problems, class_names: ClassNames | None = None) -> Labels:
    """Read a CVAT file and find its images.

    Images are searched in the file's own folder, in `images` next to it, and by their names below these folders.

    Args:
        file: the XML file.
        problems: problems are added to it.
        class_names: what class names mean; default: the known ones.

    Returns:
        The labels; none if the file cannot be read.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
    """
    try:
        root = _root(file)
    except BrokenLabel as error:
        problems.add(ProblemKind.LABEL_BROKEN, file.name, str(error))
        return Labels(format="CVAT")
    if tracks := len(root.findall("track")):
        detail = f"it has {tracks} tracks of a video; export the task as `CVAT for images 1.1`"
        problems.add(ProblemKind.LABEL_BROKEN, file.name, detail)
    images = root.findall("image")
    finder = PictureFinder([file.parent, file.parent / "images"], [image.get("name", "") for image in images])
    reader = _CvatReader(class_names or ClassNames(), finder, problems)
    pictures = [entry for image in images if (entry := reader.read(image)) is not None]
    reader.add_problems(file.name)
    declared = [element.findtext("name", "").strip() for element in root.findall("meta//labels/label")]
    classes = Counter(dict.fromkeys(declared, 0))
    classes.update(reader.classes)
    return Labels(pictures, reader.class_names.types(classes), "CVAT", classes)


def _root(file: Path) -> Element:
    try:
        root: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise BrokenLabel(f"it cannot be read: {error.strerror}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise BrokenLabel(f"it cannot be parsed as XML: {error}") from error
    if root.tag != _ROOT:
        raise BrokenLabel(f"it begins with {root.tag[:60]!r}, not {_ROOT!r}")
    return root


@dataclass
class _CvatReader:
    """Reads the images of a file, and counts their class names.

    Attributes:
        classes: how many labels each class name has.
        other_shapes: how many shapes do not surround an object.
    """

    class_names: ClassNames
    finder: PictureFinder
    problems: Problems
    classes: Counter[str] = field(default_factory=Counter)
    other_shapes: Counter[str] = field(default_factory=Counter)

    def read(self, image: Element) -> PictureLabels | None:
        """Read the labels of an image; None if it is missing or its labels are broken."""
        name = image.get("name", "")
        path = self.finder.find(name)
        if path is None:
            self.problems.add(
                ProblemKind.PICTURE_MISSING, name, f"there is no such file in or below {self.finder.folders[0]}"
            )
            return None
        try:
            labels = list(self._labels(image))
            size_hw = stated_size(image.get("height"), image.get("width"))
        except BrokenLabel as error:
            self.problems.add(ProblemKind.LABEL_BROKEN, name, str(error))
            return None
        return PictureLabels(path, name, labels, size_hw)

    def add_problems(self, where: str) -> None:
        """Add the unknown class names, and the shapes that do not surround an object."""
        add_unknown(self.classes, self.class_names, where, self.problems)
        for shape, count in self.other_shapes.items():
            detail = f"the shape {shape!r} does not surround an object; labels left out: {count}"
            self.problems.add(ProblemKind.TYPE_UNKNOWN, where, detail)

    def _labels(self, image: Element) -> Iterator[Label]:
        for number, shape in enumerate(image, start=1):
            if shape.tag in _OTHER_SHAPES:
                self.other_shapes[shape.tag] += 1
            if shape.tag not in _SHAPES:
                continue
            name = shape.get("label", "").strip()
            self.classes[name] += 1
            if known := self.class_names.parse(name):
                try:
                    box, outline = _geometry(shape)
                except BrokenLabel as error:
                    raise BrokenLabel(f"{shape.tag} {number}: {error}") from error
                yield Label(known[0], box, known[1] or _is_ignored(shape), f"{shape.tag} {number}", outline)


def _is_ignored(shape: Element) -> bool:
    return any(
        each.get("name") in ("ignore", "difficult") and (each.text or "").strip() in _YES
        for each in shape.findall("attribute")
    )


def _geometry(shape: Element) -> tuple[NDArray[np.float64], Outline | None]:
    """The box of a shape, and its outline unless it is an upright box."""
    degrees = float(_values(shape, "rotation")[0]) if shape.get("rotation") else 0.0
    if shape.tag == "box":
        box = _values(shape, "xtl", "ytl", "xbr", "ybr")
        if not degrees:
            return box, None
        outline: Outline = turned_box(box, (box[:2] + box[2:]) / 2, degrees)
    elif shape.tag == "ellipse":
        values = _values(shape, "cx", "cy", "rx", "ry")
        outline = ellipse(values[:2], values[2:], degrees)
    elif shape.tag == "polygon":
        outline = (polygon(shape.get("points", "").replace(";", ",").split(",")),)
    else:
        outline = _mask(shape)
    return bounds(outline), outline


def _mask(shape: Element) -> Outline:
    """The contours of a mask: runs of pixels row by row, outside and inside in turn, beginning outside."""
    left, top, width, height = (int(value) for value in _values(shape, "left", "top", "width", "height"))
    runs = numbers(shape.get("rle", "").split(","), "rle")
    if width < 1 or height < 1 or width * height > Limits().megapixels * 1e6:
        raise BrokenLabel(f"a mask has {width} x {height} pixels")
    if (runs < 0).any() or (runs % 1).any() or runs.sum() != width * height:
        raise BrokenLabel(f"its runs have {runs.sum():.0f} pixels, not {width} x {height}")
    inside = np.arange(len(runs)) % 2
    pixels = np.repeat(inside, runs.astype(int)).astype(np.uint8).reshape(height, width)
    contours = mask_contours(pixels)
    if not contours:
        raise BrokenLabel("its mask is empty")
    return tuple(contour + np.array([left, top]) for contour in contours)


def _values(shape: Element, *names: str) -> NDArray[np.float64]:
    return numbers([shape.get(name) for name in names], ", ".join(names))
