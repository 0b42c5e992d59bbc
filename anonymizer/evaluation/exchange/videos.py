"""Videos as labels: the metadata of results becomes tracks of boxes, as CVAT (XML 1.1 for videos) imports them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from anonymizer.evaluation.exchange.pictures import BrokenMetadata
from anonymizer.evaluation.exchange.writing import cvat_labels
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.files.whole import side_file

__all__ = ["BoxTrack", "ExchangedVideo", "of_video_metadata", "read_video_metadata", "write_cvat_videos"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class BoxTrack:
    """One object of a video.

    Attributes:
        object_type: the type.
        boxes: by the number of the frame, from 0: x1, y1, x2, y2 in pixels of the upright frame.
    """

    object_type: ObjectType
    boxes: Mapping[int, Box]


@dataclass(frozen=True, slots=True)
class ExchangedVideo:
    """One video and its tracks.

    Attributes:
        name: the name of the video, with slashes between folders.
        size_hw: height and width of its frames in pixels.
        frames: how many it has.
        tracks: the objects.
    """

    name: str
    size_hw: tuple[int, int]
    frames: int
    tracks: tuple[BoxTrack, ...]


def of_video_metadata(frames: Any, *, name: str | None = None) -> ExchangedVideo:
    """Read the metadata of one video, as the API and `anonymizer run` give it.

    A detection without a track becomes a track of one frame.

    Args:
        frames: the JSON values: a list with an object for each frame.
        name: of the video; default: as in the metadata.

    Raises:
        BrokenMetadata: these are not the values of one video.
    """
    try:
        height, width = (int(side) for side in frames[0]["size"])
        tracks: dict[tuple[Any, ...], tuple[ObjectType, dict[int, Box]]] = {}
        for number, frame in enumerate(frames):
            for row, found in enumerate(frame["detections"]):
                object_type, track_id = ObjectType(found["type_label"]), found.get("track_id")
                x1, y1, x2, y2 = (float(side) for side in found["bbox"])
                key: tuple[Any, ...] = (object_type, track_id)
                if track_id is None or number in tracks.get(key, (object_type, {}))[1]:
                    key = (object_type, number, row)
                tracks.setdefault(key, (object_type, {}))[1][number] = (x1, y1, x2, y2)
        shown = name or str(frames[0]["filename"])
        return ExchangedVideo(shown, (height, width), len(frames), tuple(BoxTrack(*track) for track in tracks.values()))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMetadata(f"it is not the metadata of a video ({type(error).__name__}: {error})") from error


def read_video_metadata(folder: Path) -> Iterator[ExchangedVideo]:
    """Read the metadata of the videos of a folder and its sub-folders. That of images is left out.

    Args:
        folder: with files such as `clip.mp4.json`, which `anonymizer run` writes. A file may also be given.

    Yields:
        The videos in the order of the files.

    Raises:
        BrokenMetadata: a file is a list, but not of the frames of a video.
    """
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.json"))
    base = folder.parent if folder.is_file() else folder
    for file in files:
        try:
            frames = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise BrokenMetadata(f"{file}: it is not a JSON file ({error})") from error
        if not isinstance(frames, list):
            continue
        try:
            video = of_video_metadata(frames)
        except BrokenMetadata as error:
            raise BrokenMetadata(f"{file}: {error}") from error
        name = (file.relative_to(base).parent / PurePosixPath(video.name).name).as_posix()
        yield ExchangedVideo(name, video.size_hw, video.frames, video.tracks)


def write_cvat_videos(videos: Iterable[ExchangedVideo], folder: Path) -> list[Path]:
    """Write a file `NAME.xml` for each video: a task of CVAT with this video imports it as `CVAT 1.1`.

    Args:
        videos: the videos with their tracks.
        folder: it is created if it is missing. Sub-folders are kept.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
        ValueError: two videos have the same name, or a name leads out of the folder.
    """
    written: list[Path] = []
    for video in videos:
        parts = PurePosixPath(video.name)
        if parts.is_absolute() or ".." in parts.parts or not parts.name:
            raise ValueError(f"the name {video.name!r} leads out of the folder")
        file = side_file(folder / video.name, ".xml")
        if file in written:
            raise ValueError(f"two videos have the name {video.name!r}")
        root = _annotations(video)
        file.parent.mkdir(parents=True, exist_ok=True)
        ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
        written.append(file)
    return written


def _annotations(video: ExchangedVideo) -> Element:
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    SubElement(task, "name").text = PurePosixPath(video.name).name
    SubElement(task, "size").text = str(video.frames)
    SubElement(task, "mode").text = "interpolation"
    cvat_labels(task)
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(video.size_hw[1]), str(video.size_hw[0])
    for number, track in enumerate(video.tracks):
        head = {"id": str(number), "label": str(track.object_type), "source": "auto"}
        element = SubElement(root, "track", head)
        for frame, box in sorted(track.boxes.items()):
            _add_box(element, frame, box, outside=False)
            # without it, CVAT keeps the box in all frames until the next one
            if frame + 1 < video.frames and frame + 1 not in track.boxes:
                _add_box(element, frame + 1, box, outside=True)
    indent(root)
    return root


def _add_box(track: Element, frame: int, box: Box, *, outside: bool) -> None:
    sides = {name: f"{side:.2f}" for name, side in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)}
    state = {"frame": str(frame), "keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
    SubElement(track, "box", state | sides | {"z_order": "0"})
