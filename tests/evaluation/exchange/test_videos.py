"""The metadata of videos becomes tracks in the form that CVAT documents for videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from anonymizer.evaluation.exchange.pictures import BrokenMetadata
from anonymizer.evaluation.exchange.videos import of_video_metadata, read_video_metadata, write_cvat_videos

Found = tuple[str, int | None, list[int]]


def frames(*found: list[Found], name: str = "clip.mp4") -> list[dict[str, Any]]:
    """Metadata as `anonymizer run` writes it."""
    return [
        {
            "id": number,
            "filename": name,
            "size": [90, 160],
            "detections": [{"type_label": kind, "track_id": track, "bbox": box} for kind, track, box in rows],
        }
        for number, rows in enumerate(found)
    ]


def boxes(track: ElementTree.Element) -> list[tuple[int, float, bool]]:
    """The frame, the left side and whether the object is gone, of each box of a track."""
    return [(int(box.get("frame", -1)), float(box.get("xtl", 0)), box.get("outside") == "1") for box in track]


def test_a_video_without_detections_has_no_tracks(tmp_path: Path) -> None:
    (file,) = write_cvat_videos([of_video_metadata(frames([], []))], tmp_path)
    root = ElementTree.parse(file).getroot()
    assert root.findall("track") == []
    assert (root.findtext("version"), root.findtext("meta/task/size")) == ("1.1", "2")
    assert root.findtext("meta/task/original_size/width") == "160"


def test_a_track_ends_where_its_object_is_gone_and_comes_back(tmp_path: Path) -> None:
    face: Found = ("face", 7, [10, 20, 30, 40])
    video = of_video_metadata(frames([face], [], [], [("face", 7, [14, 20, 30, 40])], [face]))
    (file,) = write_cvat_videos([video], tmp_path)
    assert file.name == "clip.mp4.xml"
    (track,) = ElementTree.parse(file).getroot().findall("track")
    assert (track.get("label"), track.get("source")) == ("face", "auto")
    # the last frame of the video needs no end
    assert boxes(track) == [(0, 10, False), (1, 10, True), (3, 14, False), (4, 10, False)]


def test_detections_without_a_track_are_tracks_of_one_frame() -> None:
    loose: Found = ("face", None, [10, 20, 30, 40])
    video = of_video_metadata(frames([loose, loose], [loose]))
    assert [list(track.boxes) for track in video.tracks] == [[0], [0], [1]]
    twice = of_video_metadata(
        frames([("face", 1, [1, 2, 3, 4]), ("face", 1, [5, 6, 7, 8]), ("person", 1, [1, 2, 3, 4])])
    )
    assert len(twice.tracks) == 3, "no box is lost"


def test_videos_of_a_folder_are_read_beside_pictures(tmp_path: Path) -> None:
    (tmp_path / "day 2").mkdir()
    (tmp_path / "photo.json").write_text('{"filename": "photo.jpg"}')
    (tmp_path / "day 2" / "clip.mp4.json").write_text(json.dumps(frames([], name="../clip.mp4")))
    assert [video.name for video in read_video_metadata(tmp_path)] == ["day 2/clip.mp4"]
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(BrokenMetadata, match=r"list.json: it is not the metadata of a video"):
        list(read_video_metadata(tmp_path))


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    video = of_video_metadata(frames([]), name="../clip.mp4")
    with pytest.raises(ValueError, match="leads out of the folder"):
        write_cvat_videos([video], tmp_path)
