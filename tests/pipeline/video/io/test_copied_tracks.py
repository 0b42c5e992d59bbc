"""Sound and data that are copied: every packet at its time, and with what says how to read it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.box_maker import box, changed, content_of, listed
from tests.clip_maker import Clip, Sound, make, scene
from tests.clip_zoo import h264
from tests.pipeline.video.io.test_writer import written

_MUXERS = {".mkv": "matroska", ".ts": "mpegts", ".avi": "avi", ".mov": "mov", ".mp4": "mp4"}
_STBL = (b"mdia", b"minf", b"stbl")


def with_sound(path: Path, codec: str, *, rate: int = 48_000, seconds: float = 2.0) -> Path:
    """A video with one track of sound, also in codecs that PyAV does not write into its container."""
    with av.open(str(path), "w", format=_MUXERS[path.suffix], options={"strict": "experimental"}) as file:
        video = file.add_stream("mpeg4" if path.suffix in (".avi", ".mov") else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = file.add_data_stream()
        parameters = av.open(_wave(path, codec, rate), "r")
        av.bitstream.BitStreamFilterContext("null", parameters.streams.audio[0], sound)
        sound.time_base = Fraction(1, rate)
        file.start_encoding()
        for number in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(scene(number, (64, 48)), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for packet in parameters.demux(parameters.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                file.mux(packet)
        parameters.close()
    return path


def _wave(path: Path, codec: str, rate: int, seconds: float = 2.0) -> str:
    """A sound file of a tone."""
    wave = path.with_suffix(".wav")
    with av.open(str(wave), "w", format="wav") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        size = stream.codec_context.frame_size or 1024
        for at in range(0, round(seconds * rate), size):
            tone = (np.sin(np.arange(at, at + size) * 2 * np.pi * 440 / rate) / 4).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return str(wave)


def sound_of(path: Path) -> tuple[str, list[tuple[float, bytes]]]:
    """The codec of the first track of sound, and its packets with their times in seconds."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        packets = [packet for packet in file.demux(stream) if packet.size]
        return stream.codec_context.name, [(float(packet.pts * packet.time_base), bytes(packet)) for packet in packets]


def assert_same_sound(source: Path, target: Path) -> None:
    (old_codec, was), (new_codec, now) = sound_of(source), sound_of(target)
    assert new_codec == old_codec
    assert b"".join(content for _, content in now) == b"".join(content for _, content in was)
    assert len(now) == len(was) > 10
    assert [time for time, _ in now] == pytest.approx([time for time, _ in was], abs=0.0011)


def checksum(data: bytes) -> bytes:
    """The CRC of a section of a transport stream."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value.to_bytes(4, "big")


def with_cues(path: Path, *, spoken: bool) -> Path:
    """Make the data track of a transport stream one of cues (SCTE 35), which FFmpeg reads and does not write.

    Args:
        spoken: whether there are cues in it.
    """
    packets = [path.read_bytes()[at : at + 188] for at in range(0, path.stat().st_size, 188)]
    cue = b"\xfc\x30\x11" + bytes(8) + b"\xff\xf0\0\0\0\0"
    cue = (cue + checksum(cue)).ljust(183, b"\xff")
    for number, packet in enumerate(packets):
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        if pid == 0x1000:
            # the programme's map: its two tracks, the second of which gets another type
            length = int.from_bytes(packet[6:8], "big") & 0xFFF
            section = packet[5 : 8 + length - 4]
            tracks = bytearray(section[12 + (int.from_bytes(section[10:12], "big") & 0xFFF) :])
            tracks[5 + (int.from_bytes(tracks[3:5], "big") & 0xFFF)] = 0x86
            content = section[3:10] + b"\xf0\x06\x05\x04CUEI" + tracks
            content = b"\x02" + (0xB000 | len(content) + 4).to_bytes(2, "big") + content
            packets[number] = (packet[:5] + content + checksum(content)).ljust(188, b"\xff")
        elif pid == 0x101:
            packets[number] = packet[:3] + bytes([0x10 | packet[3] & 15]) + b"\0" + cue
    kept = (packet for packet in packets if spoken or packet[1] & 0x1F != 1 or packet[2] != 1)
    path.write_bytes(b"".join(kept))
    return path


class TestSound:
    @pytest.mark.parametrize("codec", ["aac", "ac3", "mp2", "libmp3lame", "flac", "pcm_s16le", "pcm_mulaw"])
    def test_in_avi_it_keeps_its_pace(self, tmp_path: Path, codec: str) -> None:
        source = make(Clip(".avi", (h264(options={"bf": "0"}, frames=60),), (Sound(codec),)), tmp_path / "clip")
        assert written(source, tmp_path / "new.avi") == []
        assert_same_sound(source, tmp_path / "new.avi")

    @pytest.mark.parametrize("codec", ["adpcm_ima_wav", "adpcm_ms", "pcm_alaw", "g726", "adpcm_yamaha"])
    @pytest.mark.parametrize("extension", [".avi", ".mkv"])
    def test_old_codecs_of_cameras_are_copied(self, tmp_path: Path, codec: str, extension: str) -> None:
        rate = 8000 if codec == "g726" else 44_100
        source = with_sound(tmp_path / f"clip{extension}", codec, rate=rate)
        assert written(source, tmp_path / f"new{extension}") == []
        assert_same_sound(source, tmp_path / f"new{extension}")

    def test_units_and_start_are_those_of_its_source_where_the_bit_rate_is_stated_wrongly(self, tmp_path: Path) -> None:
        source = with_sound(tmp_path / "clip.avi", "adpcm_ima_wav", rate=44_100)
        content = bytearray(source.read_bytes())
        header = content.index(b"auds") + 20
        # 2041 samples in 1024 bytes, five such parts late, and a bit rate of the sound that says something else
        struct.pack_into("<3I", content, header, 2041, 44_100, 5)
        struct.pack_into("<I", content, header + 24, 0)
        struct.pack_into("<I", content, content.index(b"strf", header) + 8 + 8, 16_000)
        source.write_bytes(content)
        times = [time for time, _ in sound_of(source)[1]]
        assert (times[0], times[-1]) == pytest.approx((5 * 2041 / 44_100, 2.2), abs=0.1)
        assert written(source, tmp_path / "new.avi") == []
        assert_same_sound(source, tmp_path / "new.avi")

    @pytest.mark.parametrize("extension", [".mkv", ".mp4"])
    def test_what_nobody_can_decode_is_copied_or_named(self, tmp_path: Path, extension: str) -> None:
        source = make(Clip(extension, (h264(frames=25),), (Sound("ac3"),)), tmp_path / "clip")
        data = source.read_bytes()
        known = b"A_AC3" if extension == ".mkv" else b"ac-3"
        assert data.count(known) == 1
        source.write_bytes(data.replace(known, b"A_XY3" if extension == ".mkv" else b"xy-3"))
        with av.open(str(source)) as file:
            assert file.streams.audio[0].codec_context is None
        container = extension[1:]
        assert written(source, tmp_path / f"new{extension}") == [
            f"A track of type audio was left out: {container} cannot hold an unknown codec as it is."
        ]

    @pytest.mark.parametrize("spoken", [True, False])
    def test_cues_of_broadcasts_are_left_out_by_name(self, tmp_path: Path, *, spoken: bool) -> None:
        # FFmpeg would write them as private data, of which nobody knows what it is
        source = with_cues(make(Clip(".ts", (h264(frames=25),), data="scte_35"), tmp_path / "clip"), spoken=spoken)
        with av.open(str(source)) as file:
            assert [stream.name for stream in file.streams.data] == ["scte_35"]
            assert any(packet.size for packet in file.demux(data=0)) == spoken
        assert written(source, tmp_path / "new.ts") == [
            "A track of type data was left out: ts cannot hold scte_35 as it is."
        ]


def described(path: Path, entry: bytes, handler: bytes, media_header: bytes, *, describes: int = 0) -> Path:
    """Give the data track of a file another description. Its index lies behind the pictures, so nothing moves."""
    data = path.read_bytes()
    count = sum(kind == b"trak" for kind, _ in listed(content_of(data, b"moov")))
    track = (b"moov", b"trak", count - 1)

    def media(content: bytes) -> bytes:
        kept = b"".join(box(kind, inner) for kind, inner in listed(content) if kind in (b"dinf", b"stbl"))
        return media_header + kept

    data = changed(data, lambda _: struct.pack(">II", 0, 1) + entry, *track, *_STBL, b"stsd")
    data = changed(data, media, *track, b"mdia", b"minf")
    data = changed(data, lambda _: bytes(8) + handler + bytes(12) + b"\0", *track, b"mdia", b"hdlr")
    if describes:
        reference = box(b"tref", box(b"cdsc", struct.pack(">I", describes)))
        data = changed(data, lambda content: content + reference, *track)
    path.write_bytes(data)
    return path


_KEY = box(b"keyd", b"mdtacom.apple.quicktime.video-orientation")
_MEBX = box(b"mebx", bytes(6), b"\0\1", box(b"keys", box(b"\0\0\0\1", _KEY, box(b"dtyp", bytes(4), b"\0\0\0\x42"))))
_ENTRIES = {
    "mebx": (_MEBX, b"meta", box(b"gmhd", box(b"gmin", bytes(16)))),
    "camm": (box(b"camm", bytes(6), b"\0\1"), b"camm", box(b"nmhd", bytes(4))),
    "mett": (box(b"mett", bytes(6), b"\0\1", b"\0application/x-positions\0"), b"meta", box(b"nmhd", bytes(4))),
    "it35": (box(b"it35", bytes(6), b"\0\1", b"\xb5\0\x3c"), b"meta", box(b"nmhd", bytes(4))),
}


class TestDataTracks:
    @pytest.mark.parametrize("name", _ENTRIES)
    @pytest.mark.parametrize("extension", [".mp4", ".mov"])
    def test_they_keep_their_description(self, tmp_path: Path, name: str, extension: str) -> None:
        clip = make(Clip(".mp4", (h264(frames=25),), (Sound(),), data="bin_data"), tmp_path / "clip")
        entry, handler, media_header = _ENTRIES[name]
        source = described(clip, entry, handler, media_header, describes=1)
        if extension == ".mov":
            source.write_bytes(source.read_bytes().replace(b"ftypisom", b"ftypqt  ", 1))
        target = tmp_path / f"new{extension}"
        assert written(source, target) == []
        data = target.read_bytes()
        assert [kind for kind, _ in listed(data)][:2] == [b"ftyp", b"moov"]
        track = (b"moov", b"trak", 2)
        assert content_of(data, *track, *_STBL, b"stsd") == struct.pack(">II", 0, 1) + entry
        assert content_of(data, *track, b"mdia", b"hdlr")[8:12] == handler
        assert media_header in content_of(data, *track, b"mdia", b"minf")
        assert content_of(data, *track, b"tref") == box(b"cdsc", struct.pack(">I", 1))
        packets = []
        for path in (source, target):
            with av.open(str(path)) as file:
                assert [stream.type for stream in file.streams] == ["video", "audio", "data"]
                read = [packet for packet in file.demux(*list(file.streams)[1:]) if packet.size]
                packets.append({(packet.stream_index, packet.pts, packet.duration, bytes(packet)) for packet in read})
        assert packets[0] == packets[1]
        with av.open(str(target)) as file:
            assert sum(1 for _ in file.decode(video=0)) == 25

    def test_one_with_two_formats_is_left_out_by_name(self, tmp_path: Path) -> None:
        source = make(Clip(".mp4", (h264(frames=25),), data="bin_data"), tmp_path / "clip")
        entry = box(b"camm", bytes(6), b"\0\1")
        formats = struct.pack(">II", 0, 2) + entry + entry
        track = (b"moov", b"trak", 1)
        source.write_bytes(changed(source.read_bytes(), lambda _: formats, *track, *_STBL, b"stsd"))
        assert written(source, tmp_path / "new.mp4") == [
            "A track of type data was left out: it has more than one format, or none that can be read."
        ]

    def test_they_are_left_out_with_the_metadata(self, tmp_path: Path) -> None:
        clip = make(Clip(".mp4", (h264(frames=25),), data="bin_data"), tmp_path / "clip")
        source = described(clip, *_ENTRIES["camm"])
        assert written(source, tmp_path / "new.mp4", keep_metadata="none") == [
            "A data track was left out with the metadata."
        ]
        assert b"camm" not in (tmp_path / "new.mp4").read_bytes()


def dashcam(path: Path, *, blocks: int = 3, hides: bytes = b"") -> Path:
    """A file of a dashboard camera: blocks of positions behind the pictures, and a list of them in the index."""
    source = make(Clip(".mp4", (h264(frames=25),), (Sound(),)), path)
    parts = listed(source.read_bytes())
    index = dict(parts)[b"moov"]
    out = b"".join(box(kind, content) for kind, content in parts if kind != b"moov")
    pairs = [(0, 0)]
    for number in range(blocks):
        block = box(b"free", b"GPS ", bytes([number]) * 100, hides)
        pairs.append((len(out), len(block)))
        out += block
    places = box(b"gps ", struct.pack(">II", 0x101, blocks), *(struct.pack(">II", *pair) for pair in pairs))
    source.write_bytes(out + box(b"moov", index, places) + box(b"udta", box(b"thmb", b"\xff\xd8\xff a preview")))
    return source


class TestPositions:
    def test_those_of_a_dashboard_camera_are_copied_and_found_where_the_list_says(self, tmp_path: Path) -> None:
        source = dashcam(tmp_path / "clip")
        assert written(source, tmp_path / "new.mp4") == ["Parts of the file that are not known were left out: udta."]
        data = (tmp_path / "new.mp4").read_bytes()
        places = content_of(data, b"moov", b"gps ")
        assert places[:8] == struct.pack(">II", 0x101, 3)
        pairs = list(struct.iter_unpack(">II", places[8:]))
        assert pairs[0] == (0, 0)
        blocks = [data[start : start + size] for start, size in pairs[1:]]
        assert blocks == [box(b"free", b"GPS ", bytes([number]) * 100) for number in range(3)]
        with av.open(str(tmp_path / "new.mp4")) as file:
            assert sum(1 for _ in file.decode(video=0)) == 25
        assert_same_sound(source, tmp_path / "new.mp4")
        assert b"preview" not in data

    def test_a_block_that_may_hold_a_picture_is_none(self, tmp_path: Path) -> None:
        source = dashcam(tmp_path / "clip", hides=b"\xff\xd8\xff\xe0")
        assert written(source, tmp_path / "new.mp4") == [
            "Parts of the file that are not known were left out: moov/gps, udta."
        ]
        assert b"GPS " not in (tmp_path / "new.mp4").read_bytes()

    def test_they_are_dropped_with_the_metadata(self, tmp_path: Path) -> None:
        source = dashcam(tmp_path / "clip")
        assert written(source, tmp_path / "new.mp4", keep_metadata="none") == []
        assert b"GPS " not in (tmp_path / "new.mp4").read_bytes()

    def test_boxes_of_makers_are_named(self, tmp_path: Path) -> None:
        source = make(Clip(".mp4", (h264(frames=25),), metadata={"title": "x"}), tmp_path / "clip")
        more = box(b"FIRM", b"HD7.01") + box(b"GPMF", bytes(40))
        source.write_bytes(changed(source.read_bytes(), lambda content: content + more, b"moov", b"udta"))
        assert written(source, tmp_path / "new.mp4") == [
            "Parts of the file that are not known were left out: udta/FIRM, udta/GPMF."
        ]


class TestPacketsOf192Bytes:
    def test_they_stay(self, tmp_path: Path) -> None:
        source = make(Clip(".ts", (h264(frames=25),), (Sound(),), options={"mpegts_m2ts_mode": "1"}), tmp_path / "clip")
        source = source.rename(tmp_path / "clip.m2ts")
        assert written(source, tmp_path / "new.m2ts") == []
        data = (tmp_path / "new.m2ts").read_bytes()
        assert len(data) % 192 == 0
        assert set(data[4::192]) == {0x47}
        assert_same_sound(source, tmp_path / "new.m2ts")


def test_a_name_with_colons_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(Clip(".mp4", (h264(frames=5),), (Sound(),)), tmp_path / "clip").rename(tmp_path / "2024-01-01T12:30:45.mp4")
    monkeypatch.chdir(tmp_path)
    assert written(Path("2024-01-01T12:30:45.mp4"), Path("new:1.mp4")) == []
    with av.open(str(tmp_path / "new:1.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == 5
