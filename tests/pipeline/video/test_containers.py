"""`Anonymizer.video` with files of cameras and broadcasts: their names, their sound and their data."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from anonymizer import Anonymizer, Options
from anonymizer.pipeline.errors import UnsupportedMedia
from tests.clip_compare import compare
from tests.clip_maker import Clip, Sound, Video, make
from tests.clip_zoo import h264
from tests.fakes import FakeStore, MagentaDetector
from tests.pipeline.video.io.test_copied_tracks import assert_same_sound, with_sound

pytestmark = pytest.mark.slow


@pytest.fixture
def anonymizer() -> Anonymizer:
    return Anonymizer(store=FakeStore(MagentaDetector()), noise_key=b"key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def test_a_relative_path_with_colons_is_a_path(
    anonymizer: Anonymizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "2024-01-01T12:30:45.mp4"
    make(Clip(".mp4", (h264(frames=10),), (Sound(),)), tmp_path / "clip").rename(tmp_path / name)
    (tmp_path / "12:30").mkdir()
    monkeypatch.chdir(tmp_path)
    result = anonymizer.video(name, "12:30", Options(keep_metadata="all"))
    assert (result.name, result.anonymised) == (name, Path("12:30/anonymised.mp4"))
    assert compare(tmp_path / name, tmp_path / "12:30" / "anonymised.mp4") == []
    assert all(path is not None and path.exists() for path in (result.binary_mask, result.instance_mask))


@pytest.mark.parametrize("codec", ["adpcm_ima_wav", "pcm_alaw"])
@pytest.mark.parametrize("extension", [".avi", ".mkv"])
def test_sound_of_cameras_comes_out_whole(
    anonymizer: Anonymizer, tmp_path: Path, folder: Path, codec: str, extension: str
) -> None:
    source = with_sound(tmp_path / f"clip{extension}", codec, rate=44_100)
    result = anonymizer.video(source, folder)
    assert result.anonymised is not None
    assert result.warnings == ()
    assert_same_sound(source, result.anonymised)


def test_sound_is_in_step_when_the_size_is_tried_several_times(
    anonymizer: Anonymizer, tmp_path: Path, folder: Path
) -> None:
    video = Video("mpeg4", frames=50, bit_rate=400_000)
    source = make(Clip(".avi", (video,), (Sound("ac3"),)), tmp_path / "clip")
    result = anonymizer.video(source, folder, Options(keep_bit_rate=True))
    assert result.anonymised is not None
    assert_same_sound(source, result.anonymised)


def test_packets_of_192_bytes_stay_in_a_file_named_after_them(
    anonymizer: Anonymizer, tmp_path: Path, folder: Path
) -> None:
    source = make(Clip(".ts", (h264(),), (Sound("ac3"),), options={"mpegts_m2ts_mode": "1"}), tmp_path / "clip")
    result = anonymizer.video(source, folder)
    assert result.anonymised == folder / "anonymised.m2ts"
    assert set(result.anonymised.read_bytes()[4::192]) == {0x47}
    assert compare(source, result.anonymised) == []


def test_nothing_of_a_refused_file_is_left(anonymizer: Anonymizer, tmp_path: Path, folder: Path) -> None:
    source = make(Clip(".ts", (h264(),), (Sound(),)), tmp_path / "clip")
    source.write_bytes(2 * source.read_bytes())
    with pytest.raises(UnsupportedMedia, match="joined from parts"):
        anonymizer.video(source, folder)
    assert list(folder.iterdir()) == []


def test_names_are_dropped_and_the_camera_is_kept(anonymizer: Anonymizer, tmp_path: Path, folder: Path) -> None:
    metadata = {"artist": "Ada Example", "com.apple.quicktime.make": "Apple", "title": "Ada's street"}
    options = {"movflags": "use_metadata_tags"}
    source = make(Clip(".mp4", (h264(frames=10),), metadata=metadata, options=options), tmp_path / "clip")
    for keep, expected in (("technical", {"com.apple.quicktime.make"}), ("all", set(metadata)), ("none", set())):
        result = anonymizer.video(source, folder, Options(keep_metadata=keep))
        with av.open(str(result.anonymised)) as file:
            assert file.metadata.keys() & metadata.keys() == expected
