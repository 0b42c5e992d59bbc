"""What is checked beside decoding: whole pictures, hidden pictures, times without time stamps, and the same pixels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.video.io.codecs.decode_order import DecodeOrder
from anonymizer.pipeline.video.io.codecs.fingerprints import fingerprint, overwrite
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from tests.clip_compare import pictures
from tests.clip_maker import Clip, Video, make
from tests.clip_zoo import h264

#: four slices each picture, without B-frames
_SLICED_HEVC = {"preset": "ultrafast", "x265-params": "slices=4:bframes=0:log-level=none"}
_SLICED_H264 = {"preset": "ultrafast", "bf": "0", "x264-params": "slices=4"}
#: a message (SEI) of HEVC that says that it holds user data, and is too short for it
_BAD_MESSAGE = b"\0\0\1" + bytes([39 << 1, 1, 5, 3]) + b"abc\x80"


def changed(source: Path, path: Path, number: int, change: Callable[[bytes], bytes]) -> Path:
    """The same packets in a new file, with the content of one changed, by its number; -1: of all."""
    with av.open(str(source)) as file, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        for at, packet in enumerate(packet for packet in file.demux(video=0) if packet.size):
            new: Packet[Any] = Packet(change(bytes(packet)) if number in (at, -1) else bytes(packet))
            new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
            new.time_base, new.is_keyframe, new.stream = packet.time_base, packet.is_keyframe, stream
            out.mux(new)
    return path


def without_slice(which: int, *, is_slice: Callable[[int], bool]) -> Callable[[bytes], bytes]:
    """Leaves one slice out of a packet with start codes."""

    def change(data: bytes) -> bytes:
        units = re.split(rb"(?=\x00\x00\x01)", data)
        slices = [unit for unit in units if len(unit) > 4 and is_slice(unit[3])]
        assert len(slices) > 2
        return b"".join(unit for unit in units if unit is not slices[which])

    return change


def is_hevc_slice(first: int) -> bool:
    return first >> 1 < 32


def opened(path: Path, threads: int = 1) -> VideoReader:
    return VideoReader(path, check_video(path), threads=threads)


class TestMissingParts:
    @pytest.mark.parametrize("which", [1, 2, 3])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_a_missing_slice_of_hevc_is_seen(self, tmp_path: Path, which: int, threads: int) -> None:
        source = make(Clip(".ts", (Video("libx265", size_wh=(352, 288), options=_SLICED_HEVC),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.ts", 7, without_slice(which, is_slice=is_hevc_slice))
        with opened(path, threads) as reader:
            assert [frame.number for frame in reader.frames() if frame.damaged] == [7]
        with opened(source, threads) as reader:
            assert not any(frame.damaged for frame in reader.frames())

    def test_a_first_slice_that_is_missing_is_an_error(self, tmp_path: Path) -> None:
        source = make(Clip(".ts", (Video("libx265", size_wh=(352, 288), options=_SLICED_HEVC),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.ts", 7, without_slice(0, is_slice=is_hevc_slice))
        with opened(path) as reader, pytest.raises(BrokenMedia, match="Frame 7 of the video cannot be decoded"):
            list(reader.frames())
        with opened(path, 2) as reader:
            marked = [frame.damaged for frame in reader.frames(tolerate_damage=True)]
        # the frame before may be predicted from it, for all that is known
        assert marked == [number >= 6 for number in range(28)]

    def test_slices_that_cannot_be_decoded_are_an_error(self, tmp_path: Path) -> None:
        source = make(Clip(".ts", (Video("libx265", size_wh=(352, 288), options=_SLICED_HEVC),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.ts", 0, lambda data: data[: len(data) * 2 // 3])
        with opened(path) as reader, pytest.raises(BrokenMedia, match="Frame 0 of the video cannot be decoded"):
            list(reader.frames())
        with opened(path) as reader:
            assert all(frame.damaged for frame in reader.frames(tolerate_damage=True))

    def test_a_message_that_cannot_be_read_is_no_damage(self, tmp_path: Path) -> None:
        source = make(Clip(".ts", (Video("libx265", options=_SLICED_HEVC),)), tmp_path / "clip")
        path = changed(source, tmp_path / "message.ts", -1, lambda data: _BAD_MESSAGE + data)
        with opened(path, 2) as reader:
            frames = [(frame.damaged, fingerprint(frame.picture)) for frame in reader.frames()]
        assert frames == [(False, fingerprint(picture)) for picture in pictures(source)]

    @pytest.mark.parametrize("which", [0, 1, 3])
    def test_a_missing_slice_of_h264_is_seen(self, tmp_path: Path, which: int) -> None:
        source = make(Clip(".ts", (h264(size_wh=(352, 288), options=_SLICED_H264),)), tmp_path / "clip")
        path = changed(
            source, tmp_path / "cut.ts", 7, without_slice(which, is_slice=lambda first: first & 31 in (1, 5))
        )
        with opened(path, 2) as reader:
            assert 7 in [frame.number for frame in reader.frames() if frame.damaged]

    @pytest.mark.parametrize("which", [0, 4, -1])
    def test_a_missing_slice_of_mpeg2_is_seen(self, tmp_path: Path, which: int) -> None:
        source = make(Clip(".ts", (Video("mpeg2video", size_wh=(352, 288), bit_rate=2_000_000),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.ts", 7, without_slice(which, is_slice=lambda first: 1 <= first <= 0xAF))
        with opened(path, 4) as reader:
            assert 7 in [frame.number for frame in reader.frames() if frame.damaged]

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_a_picture_of_motion_jpeg_that_was_cut_is_an_error(self, tmp_path: Path, share: float) -> None:
        source = make(Clip(".avi", (Video("mjpeg", "yuvj420p", bit_rate=4_000_000),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.avi", 7, lambda data: data[: int(share * len(data))])
        with opened(path) as reader, pytest.raises(BrokenMedia, match="Frame 7 of the video cannot be decoded"):
            list(reader.frames())

    def test_a_picture_of_quicktime_animation_that_was_cut_is_seen(self, tmp_path: Path) -> None:
        source = make(Clip(".mov", (Video("qtrle", "rgb24", frames=10),)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.mov", 7, lambda data: data[: len(data) // 2])
        for file, marked in ((source, []), (path, [7])):
            with opened(file) as reader:
                assert [frame.number for frame in reader.frames() if frame.damaged] == marked

    def test_a_slice_of_ffv1_with_another_checksum_is_seen(self, tmp_path: Path) -> None:
        options = {"slices": "4", "level": "3", "slicecrc": "1", "g": "1"}
        source = make(Clip(".mkv", (Video("ffv1", size_wh=(352, 288), frames=10, options=options),)), tmp_path / "clip")
        path = changed(source, tmp_path / "changed.mkv", 7, _with_other_bytes)
        with opened(path) as reader:
            assert [frame.number for frame in reader.frames() if frame.damaged] == [7]
        with opened(source) as reader:
            assert not any(frame.damaged for frame in reader.frames())
        without = replace(Video("ffv1", frames=5), options={"slices": "4", "level": "3", "slicecrc": "0"})
        with opened(make(Clip(".mkv", (without,)), tmp_path / "without")) as reader:
            assert not any(frame.damaged for frame in reader.frames())


def _with_other_bytes(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x55 for byte in data[middle : middle + 40]) + data[middle + 40 :]


class TestHiddenPictures:
    @pytest.mark.parametrize(
        ("extension", "codec", "unit", "words"),
        [
            (".ts", "libx265", b"\0\0\1" + bytes([1 << 1, 1 << 3 | 1]) + b"\x80" * 20, "second layer .*MV-HEVC"),
            (".ts", "libx264", b"\0\0\1" + bytes([20]) + b"\x80" * 20, "a second view"),
            (".ts", "libx264", b"\0\0\1" + bytes([19]) + b"\x80" * 20, "an alpha plane"),
            (".mp4", "libx265", bytes([0, 0, 0, 22, 1 << 1, 1 << 3 | 1]) + b"\x80" * 20, "second layer .*MV-HEVC"),
            (".mp4", "libx264", bytes([0, 0, 0, 21, 20]) + b"\x80" * 20, "a second view"),
        ],
    )
    def test_a_second_picture_is_refused_by_name(
        self, tmp_path: Path, extension: str, codec: str, unit: bytes, words: str
    ) -> None:
        source = make(Clip(extension, (Video(codec, frames=8, options={"preset": "ultrafast"}),)), tmp_path / "clip")
        check_video(source)
        path = changed(source, tmp_path / f"stereo{extension}", -1, lambda data: data + unit)
        with pytest.raises(UnsupportedMedia, match=f"The video has .*{words}.*, which is not supported"):
            check_video(path)
        # a layer that begins later is found where it begins
        path = changed(source, tmp_path / f"later{extension}", 5, lambda data: data + unit)
        with VideoReader(path, check_video(source)) as reader, pytest.raises(UnsupportedMedia, match=words):
            list(reader.frames())

    def test_an_alpha_plane_beside_vp9_is_refused(self, tmp_path: Path) -> None:
        video = Video("libvpx-vp9", frames=4, options={"deadline": "realtime", "cpu-used": "8"})
        source = make(Clip(".webm", (video,)), tmp_path / "clip")
        path = _with_block_additions(source, tmp_path / "alpha.webm")
        with pytest.raises(UnsupportedMedia, match="The video has an alpha plane"):
            check_video(path)

    @pytest.mark.parametrize(
        ("extension", "codec", "pixel_format"),
        [(".mkv", "ffv1", "yuva420p"), (".mov", "prores_ks", "yuva444p10le"), (".mov", "qtrle", "argb")],
    )
    def test_transparent_pixels_are_refused_and_opaque_ones_are_not(
        self, tmp_path: Path, extension: str, codec: str, pixel_format: str
    ) -> None:
        options = {"profile": "4444"} if codec == "prores_ks" else {}
        video = Video(codec, pixel_format, frames=3, options=options)
        check_video(make(Clip(extension, (video,)), tmp_path / "opaque"))
        path = (tmp_path / "clear").with_suffix(extension)
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 192, 144, pixel_format
            rgba = np.full((144, 192, 4), 255, np.uint8)
            rgba[40:80, 40:80, 3] = 100
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pixel_format)
            frame.pts, frame.time_base = 0, Fraction(1, 25)
            file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        with pytest.raises(UnsupportedMedia, match="The video has transparent pixels"):
            check_video(path)


def _with_block_additions(source: Path, path: Path) -> Path:
    """Each block of a WebM file gets an addition of the kind in which VP9 keeps its alpha plane."""
    with av.open(str(source)) as file, av.open(str(path), "w", format="webm") as out:
        stream = out.add_stream_from_template(file.streams.video[0])
        stream.metadata["alpha_mode"] = "1"
        for packet in file.demux(video=0):
            if packet.size:
                content = bytes(packet)
                packet.stream = stream
                packet.set_sidedata(_addition(content))
                out.mux(packet)
    return path


def _addition(content: bytes) -> PacketSideData:
    data = (1).to_bytes(8, "big") + content
    addition = PacketSideData(packet_sidedata_type_from_literal("matroska_block_additional"), len(data))  # type: ignore[call-arg]
    addition.update(data)
    return addition


class TestPixels:
    @pytest.mark.parametrize("name", ["yuv420p", "nv12", "p010le", "yuyv422", "rgb24", "gbrap", "gray10le", "pal8"])
    def test_a_fingerprint_is_of_every_visible_pixel_and_of_no_padding(self, name: str) -> None:
        picture = av.VideoFrame(50, 30, name)
        for plane in picture.planes:
            np.frombuffer(memoryview(plane), np.uint8)[...] = 7
        first = fingerprint(picture)
        for plane in picture.planes:
            values = np.frombuffer(memoryview(plane), np.uint8)
            if not plane.line_size:
                values[5] ^= 1
                assert fingerprint(picture) != first
                values[5] ^= 1
                continue
            lines = values.reshape(plane.height, plane.line_size)
            lines[:, -1] ^= 1
            assert fingerprint(picture) == first
            lines[:, -1] ^= 1
            lines[-1, plane.width - 1] ^= 1
            assert fingerprint(picture) != first
            lines[-1, plane.width - 1] ^= 1

    def test_memory_that_a_decoder_did_not_fill_differs_from_one_reading_to_the_next(self, tmp_path: Path) -> None:
        video = Video(
            "libvpx", size_wh=(352, 288), bit_rate=2_000_000, options={"deadline": "realtime", "cpu-used": "8"}
        )
        source = make(Clip(".mkv", (video,)), tmp_path / "clip")
        path = changed(source, tmp_path / "cut.mkv", 7, lambda data: data[: len(data) // 2])
        readings = []
        for keeps in (False, True):
            kept: list[object] = []
            with opened(path) as reader:
                seen = []
                for frame in reader.frames():
                    seen.append(fingerprint(frame.picture))
                    # the second reading keeps all frames, so that none of their memory is used again
                    kept += [frame] * keeps
            readings.append(seen)
        pairs = zip(*readings, strict=True)
        assert next(number for number, pair in enumerate(pairs) if pair[0] != pair[1]) == 7

    def test_what_is_not_needed_any_more_is_overwritten(self, tmp_path: Path) -> None:
        path = make(Clip(".avi", (Video("mjpeg", "yuvj420p", bit_rate=4_000_000),)), tmp_path / "clip")
        with opened(path) as reader:
            frame = next(reader.frames())
            overwrite(frame.picture, frame.track.codec)
            assert {byte for plane in frame.picture.planes for byte in bytes(plane)} == {0x5A}

    def test_frames_that_others_are_predicted_from_are_left_alone(self, tmp_path: Path) -> None:
        path = make(Clip(".mp4", (h264(),)), tmp_path / "clip")
        with opened(path) as reader:
            seen = []
            for frame in reader.frames():
                overwrite(frame.picture, frame.track.codec)
                seen.append(fingerprint(frame.picture))
        assert seen == [fingerprint(picture) for picture in pictures(path)]


class TestDecodeOrder:
    def test_frames_get_the_times_of_packets_in_order(self) -> None:
        order = DecodeOrder()
        for time in range(5):
            order.add(time)
        # I P B P B: the B-frames are shown before the frames that were decoded before them
        assert [order.take(own, 1) for own in (0, 2, 1, 4, 3)] == [0, 1, 2, 3, 4]

    def test_a_gap_between_packets_stays(self) -> None:
        order = DecodeOrder()
        times = [order.add(time) for time in (0, 2, 3, 4)]
        assert [order.take(own, 0) for own in times] == [0, 2, 3, 4]

    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_after_a_packet_without_a_frame_the_others_come_back_to_their_times(self, depth: int) -> None:
        order = DecodeOrder()
        taken = []
        for time in range(12):
            order.add(time)
            if time != 3:
                taken.append(order.take(time, depth))
        assert taken[:3] == [0, 1, 2]
        assert taken[-3:] == [9, 10, 11]
        assert sorted(set(taken)) == taken

    def test_packets_without_times_or_with_the_same_are_counted(self) -> None:
        order = DecodeOrder()
        assert [order.add(time) for time in (None, None, 1, 1, 7)] == [0, 1, 2, 3, 7]
        assert [order.take(own, 0) for own in (0, 1, 2, 3, 7, 7)] == [0, 1, 2, 3, 7, 8]
