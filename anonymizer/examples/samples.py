"""Which pictures a notebook works on, and where it writes.

The first of these that there is: the folder that is given, the environment variable ANONYMIZER_SAMPLES, `shared/data`
beside the project, and what installed packages bring, which `builtin` means by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import TypeGuard

import av

from anonymizer.examples import builtin
from anonymizer.pipeline import folders
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff

__all__ = ["clip", "labelled", "output", "pictures", "video"]

BUILTIN = "builtin"
_ROOT = Path(__file__).resolve().parents[2]
_SHARED = _ROOT.parent / "shared" / "data"
#: how much of a picture its largest object takes
_SEEN = (0.01, 0.25)
#: sources of `shared/data` that may be shown, each with other objects than the one before it
_SOURCES = ("fddb", "cars", "voc", "dashcam", "highway")


def pictures(folder: Path | str | None = None, count: int = 6) -> list[Path]:
    """So many pictures, spread evenly over those that there are; fewer where there are fewer. Always the same ones.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it.
        ValueError: the count is less than 1.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, not {count}")
    place = _place(folder)
    if place is None:
        return builtin.pictures()[:count]
    if _is_shared(place):
        return _in_turn([*_shown(place), sorted((place / "images").iterdir())], count)
    found = list(_found(place, MediaKind.IMAGE))
    if not found:
        raise FileNotFoundError(f"The folder {place} has no picture (JPEG, PNG, WebP, ...), and none is below it.")
    return _spread(found, count)


def labelled(folder: Path | str | None = None) -> Path:
    """A labelled set, as `LabelledSet.read` takes it: a COCO file, or a folder.

    Args:
        folder: a folder; or one COCO file, which is what is returned then.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if folder is not None and Path(folder).is_file():
        return Path(folder)
    place = _place(folder)
    if place is None:
        return builtin.labelled(output("samples"))
    if _is_shared(place):
        return place / "val.json"
    coco = [file for file in sorted(place.glob("*.json")) if _is_coco(file)]
    return coco[0] if len(coco) == 1 else place


def video(folder: Path | str | None = None) -> Path:
    """A video: the first one in the folder or below it; the one of the packages' pictures where it has none.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    place = _place(folder)
    if _is_shared(place):
        return place / "videos" / "person-walking.mp4"
    found = [] if place is None else list(islice(_found(place, MediaKind.VIDEO), 1))
    return found[0] if found else builtin.video(output("samples"))


def clip(source: Path, target: Path, *, start_s: float = 0.0, seconds: float = 4.0) -> Path:
    """A short piece of a video, without sound, its frames as they are; it begins at a key frame.

    Args:
        target: its ending is the source's, or of another container that can hold the frames.
        start_s: about where it begins, counted from the first frame; earlier where the video ends too soon.
        seconds: about how long it is.

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
    """The folder for what a notebook writes, made where it is missing: `build/notebooks/NAME` of the project.

    The environment variable ANONYMIZER_NOTEBOOK_OUT names another folder than `build/notebooks`.
    """
    base = os.environ.get("ANONYMIZER_NOTEBOOK_OUT") or _ROOT / "build" / "notebooks"
    folder = Path(base, name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _place(folder: Path | str | None) -> Path | None:
    """The folder to look in; None: what the packages bring."""
    named = folder or os.environ.get("ANONYMIZER_SAMPLES")
    if named is None or named == "":
        return _SHARED if _SHARED.is_dir() else None
    if str(named) == BUILTIN:
        return None
    place = Path(named).expanduser().absolute()
    if not place.is_dir():
        by = "" if folder else " (ANONYMIZER_SAMPLES)"
        raise FileNotFoundError(f"There is no folder {place}{by}: name one that has pictures, or {BUILTIN!r}.")
    return place


def _is_shared(place: Path | None) -> TypeGuard[Path]:
    # either may be reached by a link
    return place is not None and place.resolve() == _SHARED.resolve()


def _found(folder: Path, kind: MediaKind) -> Iterator[Path]:
    """The pictures or the videos in a folder and below it: what the command `anonymize` takes, by their bytes."""
    for job in folders.jobs(folder, output(""))[0]:
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


def _shown(place: Path) -> list[list[Path]]:
    """The pictures of each source whose largest labelled object can be seen well and leaves room around it."""
    rows = json.loads((place / "val.json").read_bytes())
    largest: dict[int, float] = {}
    for each in rows["annotations"]:
        largest[each["image_id"]] = max(each["area"], largest.get(each["image_id"], 0))
    shown: dict[str, list[Path]] = {source: [] for source in _SOURCES}
    for each in rows["images"]:
        share = largest.get(each["id"], 0) / (each["width"] * each["height"])
        if each["source"] in shown and _SEEN[0] < share < _SEEN[1]:
            shown[each["source"]].append(place / "val" / each["file_name"])
    return list(shown.values())


def _in_turn(groups: Sequence[Sequence[Path]], count: int) -> list[Path]:
    """One of each group in turn, those of each group spread over it."""
    each = -(-count // len(groups))
    rounds = zip_longest(*(_spread(group, each) for group in groups))
    return list(islice((path for of_round in rounds for path in of_round if path is not None), count))


def _spread(found: Sequence[Path], count: int) -> list[Path]:
    if len(found) <= count:
        return list(found)
    return [found[(2 * place + 1) * len(found) // (2 * count)] for place in range(count)]
