"""Which images and videos a notebook works on, and where it writes.

They come from the first of these that exists: the folder that is given, the folder in the environment variable
ANONYMIZER_SAMPLES, `shared/data` beside the project, and the images of installed packages. The name `builtin` in place
of a folder means the last ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Protocol, TypeGuard, TypeVar

import av

from anonymizer.examples import builtin
from anonymizer.pipeline import folders
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff

__all__ = ["clip", "labelled", "may_be_shown", "output", "pictures", "spread", "video"]

BUILTIN = "builtin"
_ROOT = Path(__file__).resolve().parents[2]
_SHARED = _ROOT.parent / "shared" / "data"
#: the least and the largest share of an image that its largest object takes
_OBJECT_SHARE = (0.01, 0.25)
#: sources of `shared/data` that may be shown; neighbours in this list have different objects
_SOURCES = ("fddb", "cars", "voc", "dashcam", "highway")


class _Sourced(Protocol):
    """An image that knows its file and the data set that it came from."""

    @property
    def path(self) -> Path: ...

    @property
    def source(self) -> str: ...


_Image = TypeVar("_Image", bound=_Sourced)
_Value = TypeVar("_Value")


def pictures(folder: Path | str | None = None, count: int = 6) -> list[Path]:
    """Choose images, spread evenly over those that there are; always the same ones.

    Args:
        folder: where the images are, also in folders below it. Default: see the module.
        count: how many, 1 or more; fewer if there are fewer. Default: 6.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: the count is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, not {count}")
    source = _samples_folder(folder)
    if source is None:
        return builtin.with_persons(output("samples"))[:count]
    if _is_shared(source):
        return _interleave([*_clearly_visible(source), sorted((source / "images").iterdir())], count)
    found = list(_files_of_kind(source, MediaKind.IMAGE))
    if not found:
        raise FileNotFoundError(f"The folder {source} has no image (JPEG, PNG, WebP, ...), and none is below it.")
    return _evenly_spaced(found, count)


def labelled(folder: Path | str | None = None) -> Path:
    """The path of a labelled data set, as `LabelledSet.read` takes it: a COCO file, or a folder.

    Args:
        folder: where it is, or the path of a COCO file, which is returned as it is. Default: see the module.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if folder is not None and Path(folder).is_file():
        return Path(folder)
    source = _samples_folder(folder)
    if source is None:
        return builtin.labelled(output("samples"))
    if _is_shared(source):
        return source / "val.json"
    coco = [file for file in sorted(source.glob("*.json")) if _is_coco(file)]
    return coco[0] if len(coco) == 1 else source


def may_be_shown(images: Sequence[_Image]) -> list[_Image]:
    """Choose the images that notebooks show: all, but of `shared/data` only those with a licence for it.

    Args:
        images: of a labelled set, with their `path` and `source`.
    """
    shared = _SHARED.resolve()
    return [each for each in images if each.source in _SOURCES or shared not in each.path.resolve().parents]


def spread(images: Sequence[_Image], count: int | None) -> list[_Image]:
    """Choose images, as many of each source as of the others where it has so many, evenly spread over each source.

    Neighbouring images of a set are often similar, so that the first ones say little about all.

    Args:
        images: of a labelled set, with their `source`.
        count: how many; None: all.

    Returns:
        The images in the order of the set.
    """
    of_source: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        of_source.setdefault(image.source, []).append(index)
    left, chosen = len(images) if count is None else count, list[int]()
    # the smallest first: what it lacks goes to the others
    for number, indices in enumerate(sorted(of_source.values(), key=len)):
        part = _evenly_spaced(indices, min(len(indices), left // (len(of_source) - number)))
        chosen, left = [*chosen, *part], left - len(part)
    return [images[index] for index in sorted(chosen)]


def video(folder: Path | str | None = None, *, name: str = "person-walking.mp4") -> Path:
    """The path of a video: the first one in the folder or below it. If it has none: one made of an installed image.

    Args:
        folder: where to search. Default: see the module.
        name: which of the videos of `shared/data`. Default: a person walks by.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    source = _samples_folder(folder)
    if _is_shared(source):
        return source / "videos" / name
    found = [] if source is None else list(islice(_files_of_kind(source, MediaKind.VIDEO), 1))
    return found[0] if found else builtin.video(output("samples"))


def clip(source: Path, target: Path, *, start_s: float = 0.0, seconds: float = 4.0) -> Path:
    """Write a short piece of a video without sound. Its frames are copied, so it begins at a key frame.

    Args:
        source: path of the video.
        target: path of the piece, with the source's file extension or that of another container for these frames.
        start_s: about where it begins, in seconds from the first frame; earlier if the video ends too soon.
        seconds: about how long it is. Default: 4.

    Returns:
        The path of the target.

    Raises:
        av.FFmpegError: the video cannot be read, or the container cannot hold it.
    """
    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        length_s = float(file.duration or 0) / av.time_base
        written = out.add_stream_from_template(stream)
        file.seek(int(max(min(start_s, length_s - seconds), 0) * av.time_base) + (file.start_time or 0))
        first: int | None = None
        for packet in file.demux(stream):
            if packet.pts is None or packet.dts is None:
                continue
            first = packet.pts if first is None else first
            if (packet.dts - first) * packet.time_base >= seconds:
                break
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, written
            out.mux(packet)
    return target


def output(name: str) -> Path:
    """The folder where a notebook writes: `build/notebooks/NAME` of the project. It is created if it is missing.

    The environment variable ANONYMIZER_NOTEBOOK_OUT names another folder than `build/notebooks`.

    Args:
        name: of the notebook's folder.
    """
    base = os.environ.get("ANONYMIZER_NOTEBOOK_OUT") or _ROOT / "build" / "notebooks"
    folder = Path(base, name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _samples_folder(folder: Path | str | None) -> Path | None:
    """The folder with samples; None: the images of installed packages."""
    named = folder or os.environ.get("ANONYMIZER_SAMPLES")
    if named is None or named == "":
        return _SHARED if _SHARED.is_dir() else None
    if str(named) == BUILTIN:
        return None
    path = Path(named).expanduser().absolute()
    if not path.is_dir():
        origin = "" if folder else " (ANONYMIZER_SAMPLES)"
        raise FileNotFoundError(f"There is no folder {path}{origin}: name one that has images, or {BUILTIN!r}.")
    return path


def _is_shared(folder: Path | None) -> TypeGuard[Path]:
    # either path may lead through a link
    return folder is not None and folder.resolve() == _SHARED.resolve()


def _files_of_kind(folder: Path, kind: MediaKind) -> Iterator[Path]:
    """The images or videos in a folder and below it that the command `anonymize` would take; their bytes decide."""
    for job in folders.list_jobs(folder, output(""))[0]:
        with job.source.open("rb") as file:
            head = file.read(HEAD_BYTES)
        try:
            if sniff(head).kind is kind:
                yield job.source
        except AnonymizerError:
            continue


def _is_coco(file: Path) -> bool:
    try:
        rows = json.loads(file.read_bytes())
    except ValueError:
        return False
    return isinstance(rows, dict) and {"images", "annotations"} <= rows.keys()


def _clearly_visible(folder: Path) -> list[list[Path]]:
    """By source, the images whose largest labelled object can be seen well and leaves room around it."""
    rows = json.loads((folder / "val.json").read_bytes())
    largest: dict[int, float] = {}
    for annotation in rows["annotations"]:
        image_id = annotation["image_id"]
        largest[image_id] = max(annotation["area"], largest.get(image_id, 0))
    visible: dict[str, list[Path]] = {source: [] for source in _SOURCES}
    for image in rows["images"]:
        share = largest.get(image["id"], 0) / (image["width"] * image["height"])
        if image["source"] in visible and _OBJECT_SHARE[0] < share < _OBJECT_SHARE[1]:
            visible[image["source"]].append(folder / "val" / image["file_name"])
    return list(visible.values())


def _interleave(groups: Sequence[Sequence[Path]], count: int) -> list[Path]:
    """Paths from all groups in rotation; those of one group are spread over it."""
    per_group = -(-count // len(groups))
    rounds = zip_longest(*(_evenly_spaced(group, per_group) for group in groups))
    return list(islice((path for of_round in rounds for path in of_round if path is not None), count))


def _evenly_spaced(values: Sequence[_Value], count: int) -> list[_Value]:
    if len(values) <= count:
        return list(values)
    return [values[(2 * index + 1) * len(values) // (2 * count)] for index in range(count)]
