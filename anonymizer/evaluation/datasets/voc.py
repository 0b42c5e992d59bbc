"""Read Pascal VOC folders: an XML file for each image.

The format is described in the development kit of VOC2007 (host.robots.ox.ac.uk/pascal/VOC/voc2007).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from anonymizer.evaluation.datasets.class_names import ClassNames
from anonymizer.evaluation.datasets.image_files import files_below
from anonymizer.evaluation.datasets.issues import ProblemKind, Problems
from anonymizer.evaluation.datasets.records import (
    BrokenLabel,
    Label,
    Labels,
    PictureLabels,
    add_unknown,
    numbers,
    stated_size,
)

__all__ = ["label_files", "read_voc"]

#: folders of the images if the labels are in `Annotations`
_PICTURE_FOLDERS = ("JPEGImages", "images", "Images")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def label_files(folder: Path) -> list[Path]:
    """List the XML files in a folder and all folders below it, sorted.

    Args:
        folder: of the labelled set.
    """
    return files_below(folder, [".xml"])


def read_voc(folder: Path, files: Sequence[Path], problems: Problems, class_names: ClassNames | None = None) -> Labels:
    """Read Pascal VOC files and find their images.

    An image has the name of its XML file. It lies next to the XML file or, if that is in `Annotations`, in `JPEGImages`
    or `images`; or it is the only image of that name. Otherwise the file name in the XML file counts. Images without
    an XML file do not belong to the set. Corners are not shifted: tools count pixels from 0, although the development
    kit counts from 1.

    Args:
        folder: of the labelled set.
        files: its XML files.
        problems: problems are added to it.
        class_names: what class names mean; default: the known ones.

    Returns:
        The labels.

    Raises:
        InvalidDataset: there is a problem, and `problems` is strict.
    """
    finder, class_names = _ImageFinder(folder), class_names or ClassNames()
    names: Counter[str] = Counter()
    pictures = []
    for file in files:
        shown = str(file.relative_to(folder))
        try:
            root = _root(file)
            path = finder.find(file, root.findtext("filename") or "")
            if path is None:
                problems.add(ProblemKind.PICTURE_MISSING, shown, f"there is no picture for it in or below {folder}")
                continue
            size_hw = stated_size(root.findtext("size/height"), root.findtext("size/width"))
            labels = list(_labels(root, names, class_names))
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, shown, str(error))
            continue
        pictures.append(PictureLabels(path, str(path.relative_to(folder)), labels, size_hw))
    add_unknown(names, class_names, str(folder), problems)
    without = finder.unused(picture.path for picture in pictures)
    return Labels(pictures, class_names.types(names), "Pascal VOC", names, without)


def _root(file: Path) -> Element:
    try:
        root: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise BrokenLabel(f"it cannot be read: {error.strerror}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise BrokenLabel(f"it cannot be parsed as XML: {error}") from error
    if root.tag != "annotation":
        raise BrokenLabel(f"it begins with {root.tag[:60]!r}, not 'annotation'")
    return root


def _labels(root: Element, names: Counter[str], class_names: ClassNames) -> Iterator[Label]:
    """The objects with a known class name; the names of all objects are counted."""
    for number, element in enumerate(root.findall("object"), start=1):
        where = f"object {number}"
        name = (element.findtext("name") or "").strip()
        names[name] += 1
        if (known := class_names.parse(name)) is None:
            continue
        try:
            box = numbers([element.findtext(f"bndbox/{corner}") for corner in _CORNERS], "bndbox")
        except BrokenLabel as error:
            raise BrokenLabel(f"{where}: {error}") from error
        difficult = (element.findtext("difficult") or "0").strip() not in ("0", "false", "False")
        yield Label(known[0], box, known[1] or difficult, where)


class _ImageFinder:
    """Finds images below a folder by the names of their XML files, or by the names in these files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_path: dict[Path, Path] = {}
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files_below(folder):
            for key in (path, path.with_suffix("")):
                self._by_path[key] = path
                self._by_name[key.name].append(path)

    def find(self, file: Path, stated: str) -> Path | None:
        stated = stated.strip().replace("\\", "/").rsplit("/", 1)[-1]
        for name in (file.stem, stated):
            for place in _picture_folders(file.parent):
                if path := self._by_path.get(place / name):
                    return path
            if len(candidates := self._by_name.get(name, [])) == 1:
                return candidates[0]
        return None

    def unused(self, used: Iterable[Path]) -> tuple[str, ...]:
        """The names of the images that no XML file is for."""
        return tuple(str(path.relative_to(self._folder)) for path in sorted({*self._by_path.values()} - {*used}))


def _picture_folders(labels: Path) -> Iterator[Path]:
    """The folder of the labels, and the image folders next to `Annotations`."""
    yield labels
    for at in (index for index, part in enumerate(labels.parts) if part == "Annotations"):
        yield from (Path(*labels.parts[:at], name, *labels.parts[at + 1 :]) for name in _PICTURE_FOLDERS)
