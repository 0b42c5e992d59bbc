"""Files that FFmpeg opens and that are refused by name: encrypted ones, and several in one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.video.io.reader import check_video
from tests.box_maker import box, changed, listed
from tests.clip_maker import Clip, Sound, Video, make
from tests.clip_zoo import h264

_ENTRIES = (b"mdia", b"minf", b"stbl", b"stsd")
_JOINED = "The file holds several videos one after the other"


def clip(extension: str, path: Path, **changes: object) -> Path:
    """A second of video with sound."""
    return make(Clip(extension, (h264(frames=25, **changes),), (Sound(),)), path)


def encrypted_box(content: bytes, kind: bytes) -> bytes:
    """The only sample entry as that of an encrypted track (ISO/IEC 23001-7)."""
    ((was, entry),) = listed(content[8:])
    scheme = box(b"schm", bytes(4), b"cenc", struct.pack(">I", 0x10000))
    key = box(b"schi", box(b"tenc", bytes(6), b"\1\x08", bytes(16)))
    return content[:8] + box(kind, entry, box(b"sinf", box(b"frma", was), scheme, key))


class TestEncryption:
    @pytest.mark.parametrize(("track", "kind"), [(0, b"encv"), (1, b"enca")])
    @pytest.mark.parametrize("extension", [".mp4", ".mov"])
    def test_of_mp4_is_named(self, tmp_path: Path, extension: str, track: int, kind: bytes) -> None:
        path = clip(extension, tmp_path / "clip")
        check_video(path)
        data = changed(
            path.read_bytes(), lambda content: encrypted_box(content, kind), b"moov", b"trak", track, *_ENTRIES
        )
        path.write_bytes(data)
        with pytest.raises(UnsupportedMedia, match=r"The video is encrypted \(DRM\)"):
            check_video(path)

    @pytest.mark.parametrize("extension", [".mkv", ".webm"])
    def test_of_matroska_is_named(self, tmp_path: Path, extension: str) -> None:
        video = Video("libvpx", options={"deadline": "realtime", "cpu-used": "8"}, frames=10)
        path = make(Clip(extension, (video,)), tmp_path / "clip")
        check_video(path)
        data = path.read_bytes()
        # encodings: one encoding: of the type encryption, with AES
        encryption = element(b"\x50\x33", b"\1") + element(b"\x50\x35", element(b"\x47\xe1", b"\5"))
        encodings = element(b"\x6d\x80", element(b"\x62\x40", encryption))
        path.write_bytes(grown(data, encodings, b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"))
        with pytest.raises(UnsupportedMedia, match=r"The video is encrypted \(DRM\)"):
            check_video(path)

    def test_of_a_transport_stream_is_named(self, tmp_path: Path) -> None:
        path = clip(".ts", tmp_path / "clip")
        check_video(path)
        data = bytearray(path.read_bytes())
        of_video = [at for at in range(0, len(data), 188) if data[at + 1] & 0x1F == 1 and data[at + 2] == 0]
        assert len(of_video) > 8
        # one packet is a bit error
        data[of_video[2] + 3] |= 0x80
        path.write_bytes(data)
        check_video(path)
        for at in of_video:
            data[at + 3] |= 0x80
        path.write_bytes(data)
        with pytest.raises(UnsupportedMedia, match=r"The transport stream is encrypted \(scrambled\)"):
            check_video(path)


def element(number: bytes, content: bytes) -> bytes:
    """An element of Matroska with less than 127 bytes."""
    return number + bytes([0x80 | len(content)]) + content


def grown(data: bytes, more: bytes, *path: bytes) -> bytes:
    """An element along a path with more bytes behind its content, and the lengths around it changed."""
    out, at = bytearray(data), 0
    for number in path:
        # a list of places names the elements before they come
        at = data.rindex(number, at, at + 800) if len(number) == 4 else at
        # a checksum may stand first
        at += (6 if data[at] == 0xBF else 0) + len(number)
        assert data[at - len(number) : at] == number
        size = 9 - data[at].bit_length()
        value = int.from_bytes(data[at : at + size], "big") & (1 << 7 * size) - 1
        end = at + size + value
        out[at : at + size] = (value + len(more) | 1 << 7 * size).to_bytes(size, "big")
        at += size
    out[end:end] = more
    return bytes(out)


class TestSeveralInOne:
    def test_mp4(self, tmp_path: Path) -> None:
        path = clip(".mp4", tmp_path / "clip")
        path.write_bytes(2 * path.read_bytes())
        with pytest.raises(UnsupportedMedia, match=_JOINED):
            check_video(path)

    def test_matroska(self, tmp_path: Path) -> None:
        path = clip(".mkv", tmp_path / "clip")
        path.write_bytes(2 * path.read_bytes())
        with pytest.raises(UnsupportedMedia, match=_JOINED):
            check_video(path)

    @pytest.mark.parametrize("size", [188, 192])
    def test_transport_streams_whose_clock_jumps_back(self, tmp_path: Path, size: int) -> None:
        options = {"mpegts_m2ts_mode": str(int(size == 192))}
        late = make(
            Clip(".ts", (h264(frames=25, times=range(250, 275)),), (Sound(start_s=10.0),), options=options),
            tmp_path / "late",
        )
        early = make(Clip(".ts", (h264(frames=25),), (Sound(),), options=options), tmp_path / "early")
        joined = tmp_path / "joined.ts"
        joined.write_bytes(late.read_bytes() + early.read_bytes())
        with pytest.raises(UnsupportedMedia, match=r"joined from parts: its clock jumps back from \d+\.\d\d s to"):
            check_video(joined)
        # lost bytes between them hide nothing
        joined.write_bytes(late.read_bytes()[:-77] + early.read_bytes())
        with pytest.raises(UnsupportedMedia, match="joined from parts"):
            check_video(joined)
        joined.write_bytes(early.read_bytes() + late.read_bytes())
        check_video(joined)

    def test_a_clock_that_begins_again_after_a_day_is_one_clock(self, tmp_path: Path) -> None:
        # 33 bits of 1/90000 s
        first = 2**33 // 3600 - 10
        path = make(Clip(".ts", (h264(frames=25, times=range(first, first + 25)),)), tmp_path / "clip")
        check_video(path)
