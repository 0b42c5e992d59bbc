"""Reading videos: what is taken, what is refused, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from anonymizer.pipeline.errors import BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.video.io.frame_decoder import FrameDecoder
from anonymizer.pipeline.video.io.reader import VideoReader, check_video
from tests.clip_compare import pictures, seconds
from tests.clip_maker import Clip, Sound, damaged, make, remuxed, sound_only, truncated, without_frames
from tests.clip_zoo import CLIPS, h264


def opened(path: Path) -> VideoReader:
    return VideoReader(path, check_video(path), threads=1)


class TestChecking:
    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("plain", "video/mp4"),
            ("rate-59.94", "video/quicktime"),
            ("tracks-mkv", "video/x-matroska"),
            ("vp9", "video/webm"),
            ("mpeg4-avi", "video/x-msvideo"),
            ("h264-ts", "video/mp2t"),
        ],
    )
    def test_every_container_is_known_by_its_first_bytes(self, tmp_path: Path, name: str, media_type: str) -> None:
        path = make(CLIPS[name], tmp_path / "clip")
        assert check_video(path.rename(tmp_path / "clip.txt")).media_type == media_type

    def test_what_has_no_video_is_not_supported(self, tmp_path: Path) -> None:
        for name in ("sound.mp4", "sound.mkv"):
            with pytest.raises(UnsupportedMedia, match="The file has no video"):
                check_video(sound_only(tmp_path / name))

    @pytest.mark.parametrize("name", ["empty.mp4", "empty.mkv", "empty.avi"])
    def test_what_has_no_frames_is_broken(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(BrokenMedia):
            check_video(without_frames(tmp_path / name))

    def test_a_picture_is_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "picture.mp4").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        with pytest.raises(UnsupportedMedia, match=r"The file is a picture \(png\), not a video"):
            check_video(tmp_path / "picture.mp4")

    def test_a_codec_that_is_not_on_the_list_is_not_decoded(self, tmp_path: Path) -> None:
        clip = Clip(".avi", (replace(CLIPS["raw"].video, codec="flv", bit_rate=400_000),))
        with pytest.raises(UnsupportedMedia, match="The video is coded in flv1, which is not supported"):
            check_video(make(clip, tmp_path / "clip"))

    @pytest.mark.parametrize(
        ("limits", "sentence"),
        [
            (Limits(video_bytes=1000), "bytes, more than the limit of"),
            (Limits(megapixels=0.02), "frames have 192 x 144 pixels, more than 0.02 megapixels"),
            (Limits(seconds=1), "The video lasts 1 seconds, more than the limit of 1"),
        ],
    )
    def test_what_is_too_large_is_refused(self, tmp_path: Path, limits: Limits, sentence: str) -> None:
        with pytest.raises(TooLarge, match=sentence):
            check_video(make(CLIPS["plain"], tmp_path / "clip"), limits=limits)

    def test_no_frame_is_decoded_that_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = make(CLIPS["plain"], tmp_path / "clip")
        monkeypatch.setattr(VideoReader, "_first_frame", lambda *args: pytest.fail("a frame was decoded"))
        with pytest.raises(TooLarge):
            check_video(path, limits=Limits(megapixels=0.02))

    def test_no_file_of_a_playlist_is_opened(self, tmp_path: Path) -> None:
        (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/secret.ts\n")
        with pytest.raises(UnsupportedMedia):
            check_video(tmp_path / "list.mp4")


class TestEndingEarly:
    @pytest.mark.parametrize("share", [0.3, 0.6, 0.999])
    @pytest.mark.parametrize("name", ["index-first", "plain", "rate-59.94", "tracks-mkv", "vp9", "mpeg4-avi"])
    def test_a_file_that_says_how_long_it_is_has_to_be_whole(self, tmp_path: Path, name: str, share: float) -> None:
        clip = CLIPS.get(name) or Clip(".mp4", (h264(),), (Sound(),), options={"movflags": "+faststart"})
        path = make(clip, tmp_path / "clip")
        check_video(path)
        with pytest.raises(BrokenMedia, match="The video ends early"):
            check_video(truncated(path, tmp_path / "cut", share))

    def test_a_stream_does_not_say_how_long_it_is(self, tmp_path: Path) -> None:
        path = make(CLIPS["h264-ts"], tmp_path / "clip")
        assert check_video(truncated(path, tmp_path / "cut")).format == "ts"
        assert 10 < len(pictures(tmp_path / "cut")) < 30

    def test_a_recording_whose_length_was_not_known_may_end_anywhere(self, tmp_path: Path) -> None:
        path = make(Clip(".mkv", (h264(),), options={"live": "1"}), tmp_path / "clip")
        assert check_video(truncated(path, tmp_path / "cut")).format == "mkv"

    def test_bytes_behind_the_end_are_no_box(self, tmp_path: Path) -> None:
        path = make(CLIPS["plain"], tmp_path / "clip")
        path.write_bytes(path.read_bytes() + b"\0\0\0")
        with pytest.raises(BrokenMedia, match="3 bytes at its end are no box"):
            check_video(path)


class TestReading:
    @pytest.mark.parametrize("name", ["plain", "variable-rate", "open-groups", "starts-before-zero", "hdr", "mpeg2"])
    def test_every_frame_comes_in_order_at_its_time(self, tmp_path: Path, name: str) -> None:
        path = make(CLIPS[name], tmp_path / "clip")
        with opened(path) as reader:
            frames = list(reader.frames())
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert [frame.time_s for frame in frames] == seconds(pictures(path))
        assert not any(frame.damaged for frame in frames)

    @pytest.mark.parametrize(
        ("name", "orientation", "size_hw"),
        [
            ("plain", 1, (144, 192)),
            ("turned-90", 6, (192, 144)),
            ("turned-180", 3, (144, 192)),
            ("turned-270", 8, (192, 144)),
            ("mirrored", 2, (144, 192)),
            ("flipped", 4, (144, 192)),
        ],
    )
    def test_it_is_known_how_a_video_lies(
        self, tmp_path: Path, name: str, orientation: int, size_hw: tuple[int, int]
    ) -> None:
        with opened(make(CLIPS[name], tmp_path / "clip")) as reader:
            (track,) = reader.tracks
        assert (track.orientation, track.size_hw, track.size_wh) == (orientation, size_hw, CLIPS[name].video.size_wh)

    def test_a_track_is_described(self, tmp_path: Path) -> None:
        with opened(make(CLIPS["rate-29.97"], tmp_path / "clip")) as reader:
            (track,) = reader.tracks
        assert (track.codec, track.frame_rate, track.frames) == ("h264", Fraction(30_000, 1001), 30)
        assert track.bit_rate is not None
        assert not track.interlaced
        with opened(make(CLIPS["wide-pixels"], tmp_path / "wide")) as reader:
            assert reader.tracks[0].pixel_aspect == Fraction(16, 11)
        with opened(make(CLIPS["interlaced"], tmp_path / "interlaced")) as reader:
            assert reader.tracks[0].interlaced

    def test_the_light_of_hdr_is_read(self, tmp_path: Path) -> None:
        with opened(make(CLIPS["hdr"], tmp_path / "clip")) as reader:
            hdr = reader.tracks[0].hdr
        assert hdr.levels == (1000, 400)
        assert hdr.mastering is not None
        red_x, least, most = ((hdr.mastering[at], hdr.mastering[at + 1]) for at in (0, 16, 18))
        assert [Fraction(*ratio) for ratio in (red_x, least, most)] == [Fraction(68, 100), Fraction(1, 10_000), 1000]

    def test_covers_are_no_tracks_and_other_streams_are_copied(self, tmp_path: Path) -> None:
        with opened(make(CLIPS["cover-mkv"], tmp_path / "cover")) as reader:
            assert len(reader.tracks) == 1
            assert len(reader.dropped) == 1
        with opened(make(CLIPS["tracks-mkv"], tmp_path / "tracks")) as reader:
            assert [stream.type for stream in reader.copied] == ["audio", "audio", "subtitle", "subtitle", "attachment"]

    def test_what_is_attached_and_no_font_is_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "attached.mkv"
        with av.open(str(path), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.width, stream.height = 64, 48
            file.add_attachment("plain.ttf", "font/ttf", b"0")
            file.add_attachment("cover", "application/octet-stream", b"the original")
            file.mux(stream.encode(av.VideoFrame(64, 48)))
            file.mux(stream.encode())
        with opened(path) as reader:
            assert [stream.name for stream in reader.copied] == ["plain.ttf"]
            assert len(reader.dropped) == 1

    def test_packets_are_those_of_the_file(self, tmp_path: Path) -> None:
        path = make(CLIPS["tracks"], tmp_path / "clip")
        with opened(path) as reader:
            kinds = [None if track is None else track.index for track, _ in reader.packets()]
        with av.open(str(path)) as file:
            stored = [packet.stream_index for packet in file.demux() if packet.size]
        assert [track for track in kinds if track is not None] == [index for index in stored if index == 0]
        assert len(kinds) == len(stored)


class TestDamage:
    def test_a_damaged_frame_is_marked(self, tmp_path: Path) -> None:
        path = damaged(make(CLIPS["plain"], tmp_path / "clip"), tmp_path / "damaged.mp4", 7)
        with opened(path) as reader:
            marked = [frame.number for frame in reader.frames() if frame.damaged]
        assert marked == [6]

    def test_a_packet_that_cannot_be_decoded_ends_it_or_is_counted(self, tmp_path: Path) -> None:
        path = damaged(make(CLIPS["ffv1"], tmp_path / "clip"), tmp_path / "damaged.mkv", 7)
        with opened(path) as reader, pytest.raises(BrokenMedia, match=r"Frame 7 .* cannot be decoded"):
            list(reader.frames())
        with opened(path) as reader:
            decoder = FrameDecoder(reader.stream(reader.tracks[0]), reader.tracks[0], tolerate_damage=True)
            numbers = [frame.number for _, packet in reader.packets() for frame in decoder.decode(packet)]
            numbers += [frame.number for frame in decoder.decode(None)]
        assert (numbers, decoder.lost) == (list(range(29)), 1)

    def test_a_video_that_does_not_begin_with_a_key_frame_is_read_from_the_first_one(self, tmp_path: Path) -> None:
        path = remuxed(make(CLIPS["vp9"], tmp_path / "clip"), tmp_path / "cut.webm", first=5)
        assert check_video(path).format == "webm"
        with opened(path) as reader:
            frames = list(reader.frames(tolerate_damage=True))
        assert [round(frame.time_s * 25) for frame in frames] == list(range(12, 30))

    def test_pixels_are_those_that_a_player_shows(self, tmp_path: Path) -> None:
        path = make(CLIPS["hdr"], tmp_path / "clip")
        with opened(path) as reader:
            for frame, shown in zip(reader.frames(), pictures(path), strict=True):
                assert np.array_equal(frame.picture.to_ndarray(), shown.to_ndarray())
