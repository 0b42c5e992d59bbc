"""`Anonymizer.video` from end to end: what of a video is kept, and what comes with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.pipeline.errors import BrokenMedia, Cancelled, DetectorFailed, InvalidParameter
from anonymizer.pipeline.results import VideoProgress, VideoResult
from tests.clip_compare import compare, pictures, seconds, unredacted
from tests.clip_maker import Clip, Sound, Video, box_at, damaged, make, remuxed
from tests.clip_zoo import CLIPS, h264
from tests.conftest import ROOT
from tests.fakes import FakeStore, MagentaDetector

pytestmark = pytest.mark.slow

#: what is written in another codec and container
OTHERWISE = ("msmpeg4", "utvideo", "raw")
#: three seconds of a fair rate
_RATED = {
    "h264": Clip(".mp4", (h264(frames=75, options={"preset": "veryfast", "crf": "22", "g": "25"}),), (Sound(),)),
    "mpeg4": Clip(".mp4", (Video("mpeg4", frames=75, size_wh=(320, 240), bit_rate=100_000),), (Sound(),)),
}


@pytest.fixture
def finder() -> MagentaDetector:
    return MagentaDetector()


@pytest.fixture
def anonymizer(finder: MagentaDetector) -> Anonymizer:
    return Anonymizer(store=FakeStore(finder), noise_key=b"key")


@pytest.fixture
def clip(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a clip of the zoo."""
    return lambda name: make(CLIPS[name], tmp_path / name.replace(":", ""))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def frames_of(result: VideoResult, index: int = 0) -> list[dict[str, Any]]:
    """The metadata of one track's frames."""
    return [frame for frame in json.loads(result.metadata.read_text()) if frame.get("stream", index) == index]


def packets_of(path: Path, index: int = 0) -> list[tuple[int | None, int | None, bytes]]:
    with av.open(str(path)) as file:
        return [(packet.pts, packet.dts, bytes(packet)) for packet in file.demux(file.streams[index]) if packet.size]


class TestWhatIsKept:
    @pytest.mark.parametrize("name", [name for name in CLIPS if name not in OTHERWISE])
    def test_all_but_the_box(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, name: str
    ) -> None:
        source = clip(name)
        # titles are no technical metadata, which is the default
        result = anonymizer.video(source, folder, Options(keep_metadata="all"))
        assert result.anonymised is not None
        assert compare(source, result.anonymised) == []
        assert result.anonymised.suffix == result.info.extension == source.suffix
        for index, video in enumerate(CLIPS[name].videos):
            assert unredacted(source, result.anonymised, video, frames_of(result, index), index) == []

    @pytest.mark.parametrize("name", OTHERWISE)
    def test_what_has_no_encoder_becomes_h264_in_mp4(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, name: str
    ) -> None:
        source = clip(name)
        result = anonymizer.video(source, folder)
        assert result.anonymised is not None
        (warning,) = result.warnings
        assert "was written as H.264 in mp4: there is no encoder for it" in warning
        assert (result.info.format, result.anonymised.suffix) == ("mp4", ".mp4")
        changed = ("tag of", "words of", "disposition of", "header of", "color_range of")
        assert [
            difference
            for difference in compare(source, result.anonymised, codec=False)
            if not difference.startswith(changed)
        ] == []
        assert unredacted(source, result.anonymised, CLIPS[name].video, frames_of(result)) == []

    def test_metadata_is_dropped_where_that_is_asked_for(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("telemetry")
        result = anonymizer.video(source, folder, Options(strip_metadata=True))
        assert result.anonymised is not None
        with av.open(str(result.anonymised)) as file:
            assert file.metadata.keys() <= {"major_brand", "minor_version", "compatible_brands", "encoder"}
            assert [stream.type for stream in file.streams] == ["video", "audio"]
        assert result.warnings == ("A data track was left out with the metadata.",)
        content = result.anonymised.read_bytes()
        assert b"48.30" not in content
        assert b"A street" not in content

    def test_a_cover_is_left_out(self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path) -> None:
        for name in ("cover", "cover-mkv"):
            source = clip(name)
            with av.open(str(source)) as file:
                assert len(file.streams.video) == 2
            result = anonymizer.video(source, folder)
            with av.open(str(result.anonymised)) as file:
                assert [stream.type for stream in file.streams] == ["video", "audio"]
            assert result.warnings == ("A cover or preview picture was left out: it may show the original.",)

    def test_the_position_stays_where_other_programs_look_for_it(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        # the box of 3GPP TS 26.244, and that of QuickTime
        for name, box in (("tracks", b"loci"), ("tracks-mov", b"\xa9xyz")):
            source = clip(name)
            assert box in source.read_bytes()
            result = anonymizer.video(source, folder)
            assert result.anonymised is not None
            assert box in result.anonymised.read_bytes()


class TestCopying:
    def test_groups_without_anything_to_redact_are_the_same_bytes(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("closed-groups")
        result = anonymizer.video(source, folder)
        assert result.anonymised is not None
        before, after = packets_of(source), packets_of(result.anonymised)
        same = [was == now for was, now in zip(before, after, strict=True)]
        assert sum(same) == result.frames_copied
        # the box is seen in frames 60 to 71, and half a second to either side is covered
        assert same == [not 48 <= number < 84 for number in range(150)]
        decoded = zip(pictures(source), pictures(result.anonymised), same, strict=True)
        assert all(np.array_equal(was.to_ndarray(), now.to_ndarray()) for was, now, copied in decoded if copied)
        assert result.review_counts["frames_redacted"] == 36

    def test_it_is_turned_off_by_an_option(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("closed-groups")
        result = anonymizer.video(source, folder, Options(re_encode=True))
        assert result.anonymised is not None
        assert result.frames_copied == 0
        before, after = ({content for _, _, content in packets_of(path)} for path in (source, result.anonymised))
        assert not before & after
        assert compare(source, result.anonymised) == []

    def test_a_video_in_which_nothing_is_found_is_copied_whole(
        self, anonymizer: Anonymizer, tmp_path: Path, folder: Path
    ) -> None:
        for name, options in (("closed", {}), ("open", {"options": dict(CLIPS["open-groups"].video.options)})):
            source = make(Clip(".mp4", (h264(box_in=range(0), **options),), (Sound(),)), tmp_path / name)
            result = anonymizer.video(source, folder)
            assert result.anonymised is not None
            assert result.frames_copied == 30
            assert packets_of(source) == packets_of(result.anonymised)
            assert compare(source, result.anonymised) == []
            assert result.counts["license-plate"] == 0


class TestDamage:
    def test_a_frame_that_cannot_be_read_whole_is_named(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, tmp_path: Path
    ) -> None:
        source = damaged(clip("plain"), tmp_path / "damaged.mp4", 7)
        with pytest.raises(BrokenMedia, match=r"Frame 6 of the video \(at 0.24 s\) cannot be read whole"):
            anonymizer.video(source, folder)
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize(
        ("name", "first"), [("plain", 6), ("h264-ts", 6), ("mpeg4-avi", 7), ("hevc", 5), ("closed-groups", 5)]
    )
    def test_or_blackened_with_all_that_may_build_on_it(
        self,
        anonymizer: Anonymizer,
        clip: Callable[[str], Path],
        folder: Path,
        tmp_path: Path,
        name: str,
        first: int,
    ) -> None:
        source = damaged(clip(name), tmp_path / f"damaged{CLIPS[name].extension}", 7)
        result = anonymizer.video(source, folder, Options(damaged_frames="blacken"))
        assert result.anonymised is not None
        after = [frame.to_ndarray(format="gray") for frame in pictures(result.anonymised)]
        black = [number for number, frame in enumerate(after) if frame.max() < 24]
        keys = (number for number, frame in enumerate(pictures(clip(name))) if frame.key_frame and number > first)
        # up to the next key frame; a few shown before it too, as they may be predicted from it
        assert black == list(range(black[0], next(keys, len(after))))
        assert first - 4 <= black[0] <= first
        assert result.review_counts["frames_blackened"] == len(black)
        assert result.warnings == (f"{len(black)} frame(s) could not be read whole and were blackened.",)
        assert seconds(pictures(source)) == pytest.approx(seconds(pictures(result.anonymised)), abs=1e-3)
        assert result.binary_mask is not None
        masks = [frame.to_ndarray(format="gray") for frame in pictures(result.binary_mask)]
        assert [number for number, mask in enumerate(masks) if mask.min() == 255] == black
        assert [frame["id"] for frame in frames_of(result) if frame.get("blackened")] == black

    def test_a_packet_of_which_no_frame_comes_is_missed(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, tmp_path: Path
    ) -> None:
        source = damaged(clip("ffv1"), tmp_path / "damaged.mkv", 7)
        with pytest.raises(BrokenMedia, match="Frame 7 of the video cannot be decoded"):
            anonymizer.video(source, folder)
        result = anonymizer.video(source, folder, Options(damaged_frames="blacken"))
        assert (result.frames, result.review_counts["packets_lost"]) == (29, 1)
        assert [frame["time"] for frame in frames_of(result)] == [n / 25 for n in range(30) if n != 7]

    @pytest.mark.parametrize(("name", "extension"), [("plain", ".mkv"), ("h264-ts", ".ts"), ("hevc", ".mkv")])
    def test_what_comes_before_the_first_key_frame_is_damaged(
        self,
        anonymizer: Anonymizer,
        clip: Callable[[str], Path],
        folder: Path,
        tmp_path: Path,
        name: str,
        extension: str,
    ) -> None:
        source = remuxed(clip(name), tmp_path / f"cut{extension}", first=5)
        with pytest.raises(BrokenMedia, match=r"Frame 0 of the video .* cannot be read whole"):
            anonymizer.video(source, folder)
        result = anonymizer.video(source, folder, Options(damaged_frames="blacken"))
        assert result.anonymised is not None
        after = [frame.to_ndarray(format="gray") for frame in pictures(result.anonymised)]
        assert [frame.max() < 24 for frame in after] == [number < 7 for number in range(25)]
        assert compare(source, result.anonymised) == []


class TestMetadata:
    def test_each_frame_has_an_object_with_time_and_tracks(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("variable-rate")
        result = anonymizer.video(source, folder, name="street.mp4")
        frames = frames_of(result)
        assert [frame["id"] for frame in frames] == list(range(30))
        assert [frame["time"] for frame in frames] == pytest.approx(seconds(pictures(source)), abs=1e-6)
        assert {frame["filename"] for frame in frames} == {"street.mp4"}
        for number, frame in enumerate(frames):
            (found,) = frame["detections"]
            assert (found["source"], found["type_label"], found["track_id"]) == ("detector", "license-plate", 1)
            assert found["is_anonymised"]
            assert np.abs(np.array(found["bbox"]) - box_at(number, (192, 144))).max() <= 4
        assert result.counts == {"face": 0, "license-plate": 1, "person": 0, "vehicle": 0}
        assert (result.frames, result.frames_copied) == (30, 0)
        assert result.models == ("fake",)

    def test_frames_that_tracking_filled_say_so(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        frames = frames_of(anonymizer.video(clip("closed-groups"), folder))
        sources = [[found["source"] for found in frame["detections"]] for frame in frames]
        # one of the twelve frames with the box lies between two key frames that tell where it is
        seen = [["detector"]] * 5 + [["tracker"]] + [["detector"]] * 6
        assert sources[48:84] == [["tracker"]] * 12 + seen + [["tracker"]] * 12
        assert not any(sources[:48] + sources[84:])

    def test_without_tracking_each_find_is_loose(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        result = anonymizer.video(clip("closed-groups"), folder, Options(no_object_tracking=True))
        found = [found for frame in frames_of(result) for found in frame["detections"]]
        assert [(detection["source"], detection["track_id"]) for detection in found] == [("detector", None)] * 12
        assert result.counts["license-plate"] == 12

    def test_a_turned_video_is_told_of_upright(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        frames = frames_of(anonymizer.video(clip("turned-90"), folder))
        assert {tuple(frame["size"]) for frame in frames} == {(192, 144)}
        for number, frame in enumerate(frames):
            assert np.abs(np.array(frame["detections"][0]["bbox"]) - box_at(number, (144, 192))).max() <= 4

    def test_frames_of_several_tracks_name_theirs(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        result = anonymizer.video(clip("two-videos"), folder)
        assert [len(frames_of(result, index)) for index in (0, 1)] == [30, 30]
        assert result.frames == 60


class TestMasks:
    @pytest.mark.parametrize("name", ["plain", "turned-90", "odd-mp4", "variable-rate-mkv"])
    def test_they_show_frame_for_frame_what_the_metadata_says(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, name: str
    ) -> None:
        source = clip(name)
        result = anonymizer.video(source, folder)
        assert result.binary_mask is not None
        assert result.instance_mask is not None
        masks, objects = pictures(result.binary_mask), pictures(result.instance_mask)
        frames = frames_of(result)
        assert len(masks) == len(objects) == len(frames) == len(pictures(source))
        assert seconds(masks) == pytest.approx(seconds(pictures(source)), abs=0.0011)
        for mask, numbered, frame in zip(masks, objects, frames, strict=True):
            (found,) = frame["detections"]
            wanted = coco.decode({"size": found["mask_rle"]["size"], "counts": found["mask_rle"]["counts"].encode()})
            assert np.array_equal(mask.to_ndarray(format="gray") == 255, wanted == 1)
            assert np.array_equal(numbered.to_ndarray(format="rgb24"), wanted[..., None] * np.array([0, 1, 64]))

    def test_the_metadata_says_what_a_miss_costs_in_the_scores(
        self, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        result = Anonymizer(store=FakeStore(finder, cost=4.0)).video(clip("one-frame"), folder)
        (found,) = frames_of(result)[0]["detections"]
        assert (found["score"], found["miss_cost"]) == (0.973, 4)

    def test_only_those_that_are_asked_for_are_made(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        result = anonymizer.video(clip("one-frame"), folder, Options(save_mask="binary", mask_scale=50))
        assert result.instance_mask is None
        assert result.binary_mask is not None
        (mask,) = pictures(result.binary_mask)
        assert (mask.width, mask.height) == (96, 72)
        assert sorted(path.name for path in folder.iterdir()) == ["anonymised.mp4", "binary-mask.mkv", "metadata.json"]


class TestOptions:
    def test_detect_makes_masks_and_metadata_and_no_video(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        result = anonymizer.video(clip("plain"), folder, Options(method="detect"))
        assert result.anonymised is None
        assert sorted(path.name for path in folder.iterdir()) == [
            "binary-mask.mkv",
            "instance-mask.mkv",
            "metadata.json",
        ]
        frames = frames_of(result)
        assert len(frames) == 30
        assert not any(found["is_anonymised"] for frame in frames for found in frame["detections"])
        assert pictures(result.binary_mask or folder)[0].to_ndarray(format="gray").any()

    @pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
    def test_every_method_hides_the_box(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path, method: str
    ) -> None:
        source = clip("4:2:2")
        result = anonymizer.video(source, folder, Options(method=method))
        assert result.anonymised is not None
        assert unredacted(source, result.anonymised, CLIPS["4:2:2"].video, frames_of(result)) == []

    def test_debug_draws_and_score_writes(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source, drawn = clip("ffv1"), []
        for options in (Options(), Options(debug=True), Options(debug=True, score=True)):
            result = anonymizer.video(source, folder, options)
            assert result.anonymised is not None
            drawn.append(pictures(result.anonymised)[20].to_ndarray(format="gray").astype(int))
        strokes, letters = (np.abs(now - was) > 20 for was, now in pairwise(drawn))
        x1, y1, x2, y2 = box_at(20, (192, 144))
        # the box is drawn around the object, the score beside it
        assert strokes[y1 - 2 : y2 + 2, x1 - 2 : x2 + 2].any()
        assert not strokes[:, : x1 - 20].any()
        assert letters.sum() > 50

    def test_boxes_and_shapes_are_not_the_same(
        self, anonymizer: Anonymizer, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        finder.kind = ObjectType.FACE
        source, covered = clip("one-frame"), []
        for options in (Options(), Options(bbox=True)):
            result = anonymizer.video(source, folder, options)
            covered.append(int((pictures(result.binary_mask or folder)[0].to_ndarray(format="gray") == 255).sum()))
            assert frames_of(result)[0]["detections"][0]["mask_source"] == ("box" if options.bbox else "ellipse")
        assert covered[0] < covered[1]

    def test_no_pixel_changes_where_it_is_told_not_to(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("ffv1")
        result = anonymizer.video(
            source, folder, Options(ignores='[{"topLeftX": 0, "topLeftY": 0, "width": 192, "height": 62}]')
        )
        assert result.anonymised is not None
        for was, now in zip(pictures(source), pictures(result.anonymised), strict=True):
            before, after = (frame.to_ndarray(format="gray") for frame in (was, now))
            assert np.array_equal(before[:62], after[:62])
            assert not np.array_equal(before[62:], after[62:])

    def test_a_lossless_codec_changes_nothing_else(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        for name in ("ffv1", "huffyuv"):
            source = clip(name)
            result = anonymizer.video(source, folder)
            assert result.anonymised is not None
            masks = pictures(result.binary_mask or folder)
            for was, now, mask in zip(pictures(source), pictures(result.anonymised), masks, strict=True):
                same = mask.to_ndarray(format="gray") == 0
                assert np.array_equal(was.to_ndarray(format="gray")[same], now.to_ndarray(format="gray")[same])

    def test_hiding_the_gait_covers_more_of_a_person(
        self, anonymizer: Anonymizer, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        finder.kind = ObjectType.PERSON
        source, covered = clip("plain"), []
        for options in (Options(bbox=True), Options(bbox=True, hide_gait=True)):
            result = anonymizer.video(source, folder, options)
            covered.append(
                [(frame.to_ndarray(format="gray") == 255) for frame in pictures(result.binary_mask or folder)]
            )
        assert all((more | ~less).all() for less, more in zip(*covered, strict=True))
        assert sum(mask.sum() for mask in covered[1]) > 1.2 * sum(mask.sum() for mask in covered[0])

    def test_the_encoder_can_be_chosen(self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path) -> None:
        source = clip("plain")
        result = anonymizer.video(source, folder, Options(video_encoder="libx265"))
        assert result.anonymised is not None
        # x265 says what was not said: that the range is limited, as it is where nothing is said
        found = [
            difference for difference in compare(source, result.anonymised) if not difference.startswith("color_range")
        ]
        assert found == ["codec of video 0: 'h264' became 'hevc'", "tag of video 0: 'avc1' became 'hvc1'"]
        assert unredacted(source, result.anonymised, CLIPS["plain"].video, frames_of(result)) == []
        with pytest.raises(InvalidParameter, match="an encoder that works on this machine"):
            anonymizer.video(source, folder, Options(video_encoder="h264_nvenc"))

    @pytest.mark.parametrize("name", _RATED)
    def test_the_bit_rate_is_kept_within_five_percent(self, tmp_path: Path, folder: Path, name: str) -> None:
        source = make(_RATED[name], tmp_path / name)
        # a plate is filled with one colour, and MPEG-4 cannot spend the bits of the original on that
        anonymizer = Anonymizer(store=FakeStore(MagentaDetector(kind=ObjectType.FACE)))
        result = anonymizer.video(source, folder, Options(keep_bit_rate=True))
        assert result.anonymised is not None
        was, now = (sum(len(content) for _, _, content in packets_of(path)) for path in (source, result.anonymised))
        assert abs(now - was) <= 0.05 * was
        assert abs(result.anonymised.stat().st_size - source.stat().st_size) <= 0.05 * source.stat().st_size
        assert result.warnings == ()
        assert compare(source, result.anonymised) == []
        assert unredacted(source, result.anonymised, _RATED[name].video, frames_of(result)) == []


class TestScales:
    @pytest.mark.parametrize("tracking", [True, False])
    def test_every_scale_sees_every_frame_where_no_track_carries_what_it_saw(
        self, clip: Callable[[str], Path], folder: Path, *, tracking: bool
    ) -> None:
        scales_run: list[int] = []

        class Scaled(MagentaDetector):
            def scales(self, long_side: int) -> tuple[int, ...]:
                return (160, 320)

            def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
                scales_run.extend([side] * len(images))
                return super().detect(images, side)

        anonymizer = Anonymizer(store=FakeStore(Scaled()))
        anonymizer.video(clip("plain"), folder, Options(no_object_tracking=not tracking))
        # 30 frames; with tracking the other scale has its turn at every sixth
        assert (scales_run.count(320), scales_run.count(160)) == (30, 5 if tracking else 30)


class TestRunning:
    def test_progress_rises_to_the_total(
        self, anonymizer: Anonymizer, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        finder.during = lambda: time.sleep(0.15)
        told: list[VideoProgress] = []
        anonymizer.video(clip("plain"), folder, progress=told.append)
        done = [progress.frames for progress in told]
        assert len(done) > 2
        assert done == sorted(done)
        assert (done[-1], told[-1].total, told[-1].share) == (30, 30, 1.0)
        assert 0 < told[-1].frames_per_s < 1000

    def test_it_is_stopped_within_two_seconds_and_leaves_nothing(
        self, anonymizer: Anonymizer, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        finder.during = lambda: time.sleep(0.2)
        started = time.monotonic()
        asked: list[float] = []

        def stop() -> bool:
            asked.append(time.monotonic())
            return asked[-1] - started > 1.0

        with pytest.raises(Cancelled):
            anonymizer.video(clip("closed-groups"), folder, stop=stop)
        assert time.monotonic() - asked[-1] < 2
        assert list(folder.iterdir()) == []

    def test_a_detector_that_fails_in_the_middle_gives_no_file(
        self, anonymizer: Anonymizer, finder: MagentaDetector, clip: Callable[[str], Path], folder: Path
    ) -> None:
        def fail() -> None:
            if finder.calls >= 10:
                raise DetectorFailed("The detector fake failed.")

        finder.during = fail
        with pytest.raises(DetectorFailed):
            anonymizer.video(clip("closed-groups"), folder)
        # some threads find at once
        assert finder.calls < 20
        assert list(folder.iterdir()) == []

    def test_a_result_never_takes_the_place_of_its_source(
        self, anonymizer: Anonymizer, clip: Callable[[str], Path], folder: Path
    ) -> None:
        source = clip("plain").rename(folder / "anonymised.mp4")
        content = source.read_bytes()
        with pytest.raises(InvalidParameter, match=r"folder is .* the result would replace it"):
            anonymizer.video(source, folder)
        assert source.read_bytes() == content

    def test_memory_does_not_grow_with_the_length(self, tmp_path: Path) -> None:
        peaks = []
        for length_s in (10, 60):
            video = h264(frames=15 * length_s, rate=Fraction(15), size_wh=(96, 72), options={"preset": "ultrafast"})
            path = make(Clip(".mp4", (video,)), tmp_path / f"{length_s}")
            done = subprocess.run(
                [sys.executable, "-c", _PEAK, str(path), str(tmp_path)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            peaks.append(int(done.stdout))
        assert peaks[1] <= 1.1 * peaks[0]


_PEAK = """
import resource, sys
from pathlib import Path
from anonymizer import Anonymizer, Options
from tests.fakes import MagentaDetector, FakeStore
result = Anonymizer(store=FakeStore(MagentaDetector())).video(sys.argv[1], sys.argv[2], Options(save_mask="none"))
assert result.review_counts["frames_redacted"] == result.frames
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
