"""Pascal VOC files: an XML file for each picture (host.robots.ox.ac.uk/pascal/VOC/voc2007, development kit)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from anonymizer.evaluation.datasets.class_names import known_type, types_named
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

#: where pictures lie when labels lie in `Annotations`
_PICTURE_FOLDERS = ("JPEGImages", "images", "Images")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def label_files(folder: Path) -> list[Path]:
    """The XML files in and below a folder, sorted."""
    return files_below(folder, [".xml"])


def read_voc(folder: Path, files: Sequence[Path], problems: Problems) -> Labels:
    """What XML files say of pictures below a folder; problems are added to those given.

    A picture has the name of its XML file and lies beside it, or in `JPEGImages` or `images` for one in `Annotations`,
    or is the only one of that name; else it is the one that the XML file names. Pictures without an XML file are no
    part of the set. Corners are taken as they are: tools count pixels from 0 (the development kit from 1).
    """
    places = _Places(folder)
    names: Counter[str] = Counter()
    pictures = []
    for file in files:
        shown = str(file.relative_to(folder))
        try:
            root = _root(file)
            path = places.find(file, root.findtext("filename") or "")
            if path is None:
                problems.add(ProblemKind.PICTURE_MISSING, shown, f"there is no picture for it in or below {folder}")
                continue
            size_hw = stated_size(root.findtext("size/height"), root.findtext("size/width"))
            labels = list(_labels(root, names))
        except BrokenLabel as error:
            problems.add(ProblemKind.LABEL_BROKEN, shown, str(error))
            continue
        pictures.append(PictureLabels(path, str(path.relative_to(folder)), labels, size_hw))
    unknown = Counter({name: count for name, count in names.items() if known_type(name) is None})
    add_unknown(unknown, str(folder), problems)
    return Labels(pictures, types_named(names))


def _root(file: Path) -> Element:
    try:
        root: Element = fromstring(file.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise BrokenLabel(f"it cannot be read: {error.strerror}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise BrokenLabel(f"it is no XML file that is read: {error}") from error
    if root.tag != "annotation":
        raise BrokenLabel(f"it begins with {root.tag[:60]!r}, not 'annotation'")
    return root


def _labels(root: Element, names: Counter[str]) -> Iterator[Label]:
    """The objects of a known type; the names of all are counted."""
    for number, each in enumerate(root.findall("object"), start=1):
        where = f"object {number}"
        name = (each.findtext("name") or "").strip()
        names[name] += 1
        if (known := known_type(name)) is None:
            continue
        try:
            box = numbers([each.findtext(f"bndbox/{corner}") for corner in _CORNERS], "bndbox")
        except BrokenLabel as error:
            raise BrokenLabel(f"{where}: {error}") from error
        difficult = (each.findtext("difficult") or "0").strip() not in ("0", "false", "False")
        yield Label(known[0], box, known[1] or difficult, where)


class _Places:
    """The pictures below a folder, to be found by what their XML files are called and say."""

    def __init__(self, folder: Path) -> None:
        self._by_place: dict[Path, Path] = {}
        self._by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files_below(folder):
            for place in (path, path.with_suffix("")):
                self._by_place[place] = path
                self._by_name[place.name].append(path)

    def find(self, file: Path, stated: str) -> Path | None:
        stated = stated.strip().replace("\\", "/").rsplit("/", 1)[-1]
        for name in (file.stem, stated):
            for place in _picture_places(file.parent):
                if found := self._by_place.get(place / name):
                    return found
            if len(same := self._by_name.get(name, [])) == 1:
                return same[0]
        return None


def _picture_places(labels: Path) -> Iterator[Path]:
    """The folder of the labels, and those that stand beside `Annotations`."""
    yield labels
    for at in (each for each, part in enumerate(labels.parts) if part == "Annotations"):
        yield from (Path(*labels.parts[:at], name, *labels.parts[at + 1 :]) for name in _PICTURE_FOLDERS)
