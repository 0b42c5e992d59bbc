"""What of a video's metadata is kept: technical values by default, names and texts on demand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests.clip_maker import Clip, Sound, make
from tests.clip_zoo import h264
from tests.pipeline.video.io.test_writer import written

_APPLE = "com.apple.quicktime."
_TECHNICAL = {
    f"{_APPLE}make": "Apple",
    f"{_APPLE}model": "iPhone 15",
    f"{_APPLE}software": "17.4",
    f"{_APPLE}creationdate": "2026-03-04T05:06:07+0100",
    f"{_APPLE}location.ISO6709": "+48.3069+014.2858/",
    "com.android.version": "14",
    "com.android.capture.fps": "60.0",
    "creation_time": "2026-03-04T05:06:07.000000Z",
}
_NAMES = {
    f"{_APPLE}author": "Ada Example",
    f"{_APPLE}artist": "Ada Example",
    f"{_APPLE}location.name": "At Ada's",
    f"{_APPLE}camera.identifier": "C39XK0Example",
    "title": "Ada's street",
    "artist": "Ada Example",
    "comment": "Ada's comment",
    "description": "Ada's text",
    "copyright": "Ada Example",
    "serial_number": "C39XK0Example",
    "keywords": "Ada",
    "synopsis": "Ada's long text",
}


def keys(path: Path) -> Mapping[str, str]:
    with av.open(str(path)) as file:
        return {key.lower(): value for key, value in file.metadata.items()}


def language(path: Path) -> str | None:
    """That of the sound; QuickTime has no code for some."""
    with av.open(str(path)) as file:
        return file.streams.audio[0].language


def recorded(extension: str, path: Path, more: Mapping[str, str]) -> Path:
    """A clip with all these texts."""
    options = {} if extension == ".mkv" else {"movflags": "use_metadata_tags"}
    sounds = (Sound(language="deu"),)
    video = h264(frames=10, metadata={"title": "Front camera", "artist": "Ada Example"})
    clip = Clip(extension, (video,), sounds, chapters=True, metadata=_TECHNICAL | more, options=options)
    source = make(clip, path)
    assert keys(source).keys() >= {key.lower() for key in _TECHNICAL | more}
    return source


@pytest.mark.parametrize("extension", [".mp4", ".mov", ".mkv"])
class TestKept:
    def test_technical_values_are_kept_and_names_are_not(self, tmp_path: Path, extension: str) -> None:
        source = recorded(extension, tmp_path / "clip", _NAMES)
        target = tmp_path / f"new{extension}"
        assert written(source, target) == []
        assert language(target) == language(source)
        found = keys(target)
        assert {key: found.get(key.lower()) for key in _TECHNICAL} == {
            key: keys(source)[key.lower()] for key in _TECHNICAL
        }
        assert not found.keys() & {key.lower() for key in _NAMES}
        assert not [word for word in (b"Ada", b"C39XK0") if word in target.read_bytes()]
        with av.open(str(target)) as file:
            assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["Part 1", "Part 2"]

    def test_all_keeps_both(self, tmp_path: Path, extension: str) -> None:
        source = recorded(extension, tmp_path / "clip", _NAMES)
        target = tmp_path / f"new{extension}"
        assert written(source, target, keep_metadata="all") == []
        ignored = ("encoder", "major_brand", "minor_version", "compatible_brands")
        before, after = ({key: value for key, value in keys(path).items() if key not in ignored}
                         for path in (source, target))  # fmt: skip
        assert after == before

    def test_none_keeps_the_languages_alone(self, tmp_path: Path, extension: str) -> None:
        source = recorded(extension, tmp_path / "clip", _NAMES)
        target = tmp_path / f"new{extension}"
        assert written(source, target, keep_metadata="none") == []
        assert language(target) == language(source)
        assert keys(target).keys() <= {"major_brand", "minor_version", "compatible_brands", "encoder"}
        content = target.read_bytes()
        assert not [word for word in (b"Ada", b"C39XK0", b"iPhone", b"48.30", b"2026", b"Front") if word in content]
        with av.open(str(target)) as file:
            assert "creation_time" not in file.streams.video[0].metadata

    def test_a_comment_stays_if_it_is_json_as_mapping_tools_write_it(self, tmp_path: Path, extension: str) -> None:
        words = json.dumps({"MAPCaptureTime": "2026_03_04_05_06_07_000", "MAPLatitude": 48.3})
        source = recorded(extension, tmp_path / "clip", {"comment": words, "description": "{no JSON"})
        target = tmp_path / f"new{extension}"
        assert written(source, target) == []
        assert keys(target)["comment"] == words
        assert "description" not in keys(target)


def test_names_of_tracks_stay_and_their_authors_do_not(tmp_path: Path) -> None:
    video = replace(h264(frames=10), metadata={"title": "Front camera", "artist": "Ada Example"})
    source = make(Clip(".mkv", (video,)), tmp_path / "clip")
    for keep, kept in (("technical", {"title"}), ("all", {"title", "ARTIST"}), ("none", set())):
        written(source, tmp_path / "new.mkv", keep_metadata=keep)
        with av.open(str(tmp_path / "new.mkv")) as file:
            assert file.streams.video[0].metadata.keys() & {"title", "ARTIST"} == kept
