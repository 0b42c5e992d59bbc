"""Clips and sheets for people: that they show the right frame of the right video, whatever the file is like."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.examples import frame_reader
from anonymizer.examples.clips import contact_sheet, side_by_side
from anonymizer.pipeline.errors import BrokenMedia, EncoderFailed, InvalidParameter, UnsupportedMedia
from tests.pictures import encoded

RED, GREY = (250, 0, 0), (90, 90, 90)


def video(
    path: Path,
    times: Sequence[float] = tuple(number / 25 for number in range(25)),
    *,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
    colour: tuple[int, int, int] = GREY,
    sound: bool = False,
) -> Path:
    """A video whose frame n is as grey as `shade(n)`, with a corner of a colour at its upper left."""
    width, height = size
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.bit_rate = 4_000_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        if sound:
            voice = file.add_stream("aac", rate=48000)
        for number, time_s in enumerate(times):
            picture = np.full((height, width, 3), shade(number), np.uint8)
            picture[: height // 2, : width // 2] = colour
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if sound:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, 1024)).astype(np.float32)
            for number in range(40):
                samples = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
                samples.sample_rate, samples.pts = 48000, number * 1024
                file.mux(voice.encode(samples))
            file.mux(voice.encode())
    return path


def shade(number: int) -> int:
    return 20 + 8 * (number % 29)


def frames(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def numbers(clip: Path, *, left: float) -> list[int]:
    """Which frame of the source stands at each time, judged by the grey near the lower edge."""
    return [
        round((int(frame[-6, int(frame.shape[1] * left), 0]) - shade(0)) / (shade(1) - shade(0)))
        for frame in frames(clip)
    ]


def is_near(pixel: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() < 16)


def test_a_clip_shows_both_videos_at_the_same_times(tmp_path: Path) -> None:
    before, after = video(tmp_path / "a.mp4"), video(tmp_path / "b.mkv", colour=RED)
    target = tmp_path / "clip.mp4"
    assert side_by_side(before, after, target, height=96) == target
    assert numbers(target, left=0.4) == numbers(target, left=0.9) == list(range(25))
    shown = frames(target)[3]
    assert is_near(shown[30, 10], GREY)
    assert is_near(shown[30, shown.shape[1] // 2 + 10], RED)
    with av.open(str(target)) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.duration is not None and stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(1.0)


def test_labels_stand_over_the_pictures(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4", [0])
    written = frames(side_by_side(source, source, tmp_path / "clip.mp4", height=96))[0][:18]
    empty = frames(side_by_side(source, source, tmp_path / "empty.mp4", height=96, labels=("", "after")))[0][:18]
    half = written.shape[1] // 2
    assert written[:, :half].max() > 128
    assert empty[:, :half].max() < 32
    assert empty[:, half:].max() > 128


def test_voices_are_left_out(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4", sound=True)
    with av.open(str(source)) as file:
        assert len(file.streams.audio) == 1
    with av.open(str(side_by_side(source, source, tmp_path / "clip.mp4"))) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_a_part_is_cut_out(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    clip = side_by_side(source, source, tmp_path / "clip.mp4", start_s=0.2, seconds=0.4)
    assert numbers(clip, left=0.4) == list(range(5, 15))


def test_no_frame_is_lost_to_rounding(tmp_path: Path) -> None:
    # 61 / 29.97 * 29.97 is less than 61
    source = video(tmp_path / "a.mp4", [number * 1001 / 30000 for number in range(61)])
    clip = side_by_side(source, source, tmp_path / "clip.mp4", height=48)
    assert numbers(clip, left=0.4) == [number % 29 for number in range(61)]


def test_more_than_there_is_ends_with_the_video(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    clip = side_by_side(source, source, tmp_path / "clip.mp4", start_s=0.8, seconds=60)
    assert numbers(clip, left=0.9) == list(range(20, 25))


def test_a_video_that_ends_earlier_goes_dark(tmp_path: Path) -> None:
    long, short = video(tmp_path / "a.mp4"), video(tmp_path / "b.mp4", [number / 25 for number in range(10)])
    shown = frames(side_by_side(long, short, tmp_path / "clip.mp4"))
    assert len(shown) == 25
    assert is_near(shown[9][-6, -6], (shade(9),) * 3)
    assert is_near(shown[20][-6, -6], (0, 0, 0))
    assert is_near(shown[20][-6, 6], (shade(20),) * 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_stand_as_long_as_their_times_say(tmp_path: Path, suffix: str) -> None:
    times = [0, 0.04, 0.08, 0.4, 0.44, 1.0, 4.0]
    source = video(tmp_path / f"a{suffix}", times)
    clip = side_by_side(source, source, tmp_path / "clip.mp4", height=48)
    with av.open(str(clip)) as file:
        rate = float(file.streams.video[0].average_rate or 0)
    expected = [max(n for n, at in enumerate(times) if at <= step / rate + 0.001) for step in range(round(4 * rate))]
    assert numbers(clip, left=0.4)[: len(expected)] == expected
    assert len(frames(clip)) == round(4.04 * rate)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "mpeg4"), ("a.ts", "libx264"), ("a.webm", "libvpx-vp9")])
def test_every_container_is_read(tmp_path: Path, name: str, codec: str) -> None:
    source = video(tmp_path / name, codec=codec)
    assert numbers(side_by_side(source, source, tmp_path / "clip.mp4"), left=0.4) == list(range(25))


def test_a_video_that_begins_late_is_compared_from_its_first_frame(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    late = video(tmp_path / "b.ts", [5 + number / 25 for number in range(25)])
    clip = side_by_side(source, late, tmp_path / "clip.mp4")
    assert numbers(clip, left=0.4) == numbers(clip, left=0.9) == list(range(25))


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_the_rotation_flag_is_obeyed(tmp_path: Path, rotation: int) -> None:
    source = video(tmp_path / "a.mp4", [0], rotation=rotation, colour=RED)
    sheet = contact_sheet(source, columns=1, rows=1, width=66)
    size = (64, 48) if rotation == 180 else (48, 64)
    left = (66 - size[0]) // 2
    shown = sheet[14 : 14 + size[1], left : left + size[0]]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), "-f", "rawvideo", "-pix_fmt", "rgb24"]
    turned = subprocess.run([*command, "-"], capture_output=True, check=True).stdout
    expected = np.frombuffer(turned, np.uint8).reshape(size[1], size[0], 3)
    assert np.abs(shown.astype(int) - expected)[4:-4, 4:-4].mean() < 8


def test_odd_sizes_become_whole_pairs_of_pixels(tmp_path: Path) -> None:
    odd = video(tmp_path / "a.mp4", size=(63, 47), pixels="yuv444p")
    shown = frames(side_by_side(odd, odd, tmp_path / "clip.mp4", height=47))[0]
    assert shown.shape == (46 + 18, 2 * 62, 3)


def test_a_very_wide_video_becomes_lower(tmp_path: Path) -> None:
    wide = video(tmp_path / "a.mp4", [0], size=(640, 16))
    assert frames(side_by_side(wide, wide, tmp_path / "clip.mp4"))[0].shape == (48 + 40, 2 * 1920, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_of_one_frame_makes_a_clip_of_one(tmp_path: Path, suffix: str) -> None:
    one = video(tmp_path / f"a{suffix}", [0])
    assert numbers(side_by_side(one, one, tmp_path / "clip.mp4"), left=0.4) == [0]


@pytest.mark.parametrize("start_s", [-0.1, 1.0, float("nan")])
def test_a_clip_must_begin_within_the_video(tmp_path: Path, start_s: float) -> None:
    source = video(tmp_path / "a.mp4")
    with pytest.raises(InvalidParameter, match=r"start_s is .*less than 1\.000"):
        side_by_side(source, source, tmp_path / "clip.mp4", start_s=start_s)


def test_a_clip_must_last(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    with pytest.raises(InvalidParameter, match="more than 0"):
        side_by_side(source, source, tmp_path / "clip.mp4", seconds=0)


def test_a_clip_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = video(tmp_path / "a.mp4"), tmp_path / "clip.mp4"
    target.write_bytes(b"the one before")
    for command in ("false", "true"):
        monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", command)
        with pytest.raises(EncoderFailed, match="could not be written"):
            side_by_side(source, source, target)
    assert target.read_bytes() == b"the one before"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.mp4", "clip.mp4"]
    assert not list(tmp_path.glob(".clip-*"))


def test_a_clip_that_lacks_frames_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, half = video(tmp_path / "a.mp4"), tmp_path / "half"
    half.write_text(f'#!/bin/sh\nexec {imageio_ffmpeg.get_ffmpeg_exe()} -t 0.2 "$@"\n')
    half.chmod(0o700)
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(half))
    # so small that FFmpeg's input takes all of it at once
    with pytest.raises(EncoderFailed, match="5 frames instead of 10"):
        side_by_side(source, source, tmp_path / "clip.mp4", height=16, seconds=0.4)
    assert not (tmp_path / "clip.mp4").exists()


def test_nothing_is_said_and_nothing_left_open(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    script = (
        "import sys\n"
        "from anonymizer.examples.clips import contact_sheet, side_by_side\n"
        "assert 'moviepy' not in sys.modules and 'django' not in sys.modules\n"
        f"contact_sheet({str(source)!r})\n"
        "assert 'moviepy' not in sys.modules\n"
        f"side_by_side({str(source)!r}, {str(source)!r}, {str(tmp_path / 'clip.mp4')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script],
        cwd=Path(__file__).parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    picture, text, playlist = tmp_path / "p.mp4", tmp_path / "t.mp4", tmp_path / "l.mp4"
    picture.write_bytes(encoded())
    text.write_text("not a video")
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{source}\n")
    for path, words in ((picture, "p.mp4: .*picture"), (text, "t.mp4: .*text"), (playlist, "l.mp4: .*text")):
        with pytest.raises(UnsupportedMedia, match=words):
            side_by_side(source, path, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()


@pytest.mark.parametrize("cut", [0, 60, 500])
def test_a_file_that_ends_early_is_broken(tmp_path: Path, cut: int) -> None:
    whole = video(tmp_path / "a.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(whole.read_bytes()[:cut])
    for call in (lambda: contact_sheet(broken), lambda: side_by_side(whole, broken, tmp_path / "clip.mp4")):
        with pytest.raises(BrokenMedia, match=r"broken\.mp4: "):
            call()


def test_a_damaged_frame_is_passed_over(tmp_path: Path) -> None:
    whole = video(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p")
    content = bytearray(whole.read_bytes())
    with av.open(str(whole)) as file:
        packets = [(packet.pos or 0, packet.size) for packet in file.demux(video=0) if packet.size]
    position, size = packets[10]
    content[position + 8 : position + 8 + size] = bytes(size)
    damaged = tmp_path / "b.avi"
    damaged.write_bytes(content)
    clip = side_by_side(whole, damaged, tmp_path / "clip.mp4")
    assert numbers(clip, left=0.4) == list(range(25))
    assert numbers(clip, left=0.9) == [9 if number == 10 else number for number in range(25)]


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        contact_sheet(tmp_path / "nothing.mp4")


def cells(sheet: NDArray[np.uint8], columns: int, rows: int) -> list[NDArray[np.uint8]]:
    lines = np.array_split(sheet, rows)
    return [cell for line in lines for cell in np.array_split(line, columns, axis=1)]


def test_a_sheet_shows_frames_spread_evenly(tmp_path: Path) -> None:
    sheet = contact_sheet(video(tmp_path / "a.mp4"), columns=5, rows=1, width=500)
    assert (sheet.dtype, sheet.shape) == (np.uint8, (14 + 74 + 2, 500, 3))
    shown = [round((int(cell[-12, 70, 0]) - shade(0)) / 8) for cell in cells(sheet, 5, 1)]
    assert shown == [2, 7, 12, 17, 22]
    assert all(cell[:14].max() > 128 for cell in cells(sheet, 5, 1))


def test_a_sheet_is_filled_from_fewer_frames_too(tmp_path: Path) -> None:
    one = cells(contact_sheet(video(tmp_path / "a.mp4", [0])), 4, 3)
    assert len(one) == 12
    assert all(np.array_equal(frame, one[0]) for frame in one)
    two = cells(contact_sheet(video(tmp_path / "b.mp4", [0, 0.04]), columns=4, rows=1), 4, 1)
    assert np.array_equal(two[0], two[1]) and np.array_equal(two[2], two[3])
    assert not np.array_equal(two[1], two[2])
    # their captions are the times of the two frames
    assert not np.array_equal(two[1][:21], two[2][:21])


def test_a_sheet_of_two_videos_has_pairs_of_the_same_time(tmp_path: Path) -> None:
    before, after = video(tmp_path / "a.mp4", colour=GREY), video(tmp_path / "b.mkv", colour=RED)
    for cell in cells(contact_sheet([before, after], columns=3, rows=2, width=300), 3, 2):
        assert cell.shape[0] == 14 + 2 * (74 + 2)
        above, below = cell[14:88], cell[90:164]
        assert is_near(above[20, 20], GREY)
        assert is_near(below[20, 20], RED)
        assert is_near(above[60, 70], tuple(below[60, 70].tolist()))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_long_video_is_not_decoded_whole(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = video(tmp_path / name, [number * 3 for number in range(28)])
    steps: list[int] = []
    step = frame_reader.TimedFrames._step
    monkeypatch.setattr(frame_reader.TimedFrames, "_step", lambda self: (steps.append(1), step(self))[1])
    sheet = contact_sheet([source, source], columns=2, rows=1, width=200)
    # MPEG-TS does not say how long the last frame stands
    expected = [7, 21] if name == "a.ts" else [6, 20]
    assert [round((int(cell[-12, 70, 0]) - shade(0)) / 8) for cell in cells(sheet, 2, 1)] == expected
    assert len(steps) < 2 * 18


@pytest.mark.parametrize("wrong", [{"columns": 0}, {"rows": 0}, {"width": 100}])
def test_a_sheet_needs_room(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="contact_sheet needs"):
        contact_sheet(video(tmp_path / "a.mp4", [0]), **wrong)
    with pytest.raises(ValueError, match="contact_sheet needs"):
        contact_sheet([])


def test_a_height_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="height"):
        side_by_side("a", "b", tmp_path / "clip.mp4", height=8)
