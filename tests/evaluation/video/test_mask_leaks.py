"""Tracks held against masks: what counts as uncovered, and how often and how long it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.evaluation.datasets.dataset import Objects
from anonymizer.evaluation.datasets.tracks import LabelledTracks
from anonymizer.evaluation.metrics.leak_coverage import object_mask
from anonymizer.evaluation.video.leaks import VideoLeaks
from anonymizer.evaluation.video.mask_leaks import mask_frames, video_leaks
from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.redaction.regions import RedactionRegion
from anonymizer.pipeline.video.io.mask_writer import MaskWriter
from anonymizer.pipeline.video.io.tracks import HdrMetadata, VideoTrack
from tests.clip_maker import Clip, Video, damaged, make
from tests.evaluation.tracked import BOX, FACE, PERSON, track, tracks
from tests.fakes import FakeStore, MagentaDetector
from tests.pictures import encoded

SIZE_HW = (40, 60)
#: ten frames a second, for a second
TENTHS = np.arange(10) / 10
#: a labelled box is redacted as that box and nothing else
EXACT = Options(bbox=True, margin=0, face_anonymization_gradient_start=0)


def mask(*boxes: Sequence[int], size_hw: tuple[int, int] = SIZE_HW) -> NDArray[np.uint8]:
    """255 in boxes x1, y1, x2, y2."""
    out = np.zeros(size_hw, np.uint8)
    for x1, y1, x2, y2 in boxes:
        out[y1:y2, x1:x2] = 255
    return out


def covered(frames: Sequence[int], count: int = 10) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Masks that cover the box of `tracked` in some frames."""
    return ((number, mask(*[(10, 20, 20, 30)] * (number in frames))) for number in range(count))


def runs(leaks: VideoLeaks) -> list[tuple[str, int, int]]:
    return [(leak.track.words, leak.first, leak.last) for each in leaks.tracks for leak in each.leaks]


class TestLeaks:
    def test_counts_and_lengths(self) -> None:
        leaks = video_leaks(tracks(track(range(10)), times_s=TENTHS), covered([0, 1, 2, 5, 8, 9]))
        assert runs(leaks) == [("person 1", 3, 4), ("person 1", 6, 7)]
        figures = leaks.figures()
        assert (figures.tracks, figures.tracks_with_leaks) == (1, 1)
        assert (figures.object_frames, figures.uncovered, figures.leaks) == (10, 4, 2)
        assert figures.uncovered_share == pytest.approx(0.4)
        assert figures.leaks_per_minute == pytest.approx(120)
        assert (figures.longest_frames, figures.longest_s) == (2, pytest.approx(0.2))
        assert leaks.seconds == pytest.approx(1)
        first = leaks.tracks[0].leaks[0]
        assert (first.frames, first.start_s, first.seconds) == (2, pytest.approx(0.3), pytest.approx(0.2))

    def test_all_covered_is_no_leak(self) -> None:
        leaks = video_leaks(tracks(track(range(10)), times_s=TENTHS), covered(range(10)))
        assert leaks.figures().leaks == 0 and leaks.figures().leaks_per_minute == 0
        assert leaks.longest is None and leaks.tracks[0].longest is None
        assert leaks.track_table() == "No track leaks."

    def test_a_leak_to_the_last_frame_lasts_until_the_video_ends(self) -> None:
        leaks = video_leaks(tracks(track(range(10)), times_s=TENTHS), covered(range(8)))
        assert str(leaks.longest) == "person 1: 2 frames, 0.20 s, from 0.80 s on"

    def test_an_object_that_goes_and_comes_back_leaks_twice(self) -> None:
        leaks = video_leaks(tracks(track([1, 2, 5, 6]), times_s=TENTHS), covered([]))
        assert runs(leaks) == [("person 1", 1, 2), ("person 1", 5, 6)]

    def test_the_longest_is_so_in_seconds_where_the_rate_varies(self) -> None:
        times_s = [0.0, 0.1, 0.2, 0.3, 0.4, 1.4, 1.5, 1.6, 1.7, 1.8]
        leaks = video_leaks(tracks(track(range(10)), times_s=times_s), covered([0, 3, 5, 6, 7, 8, 9]))
        assert runs(leaks) == [("person 1", 1, 2), ("person 1", 4, 4)]
        assert leaks.longest is not None and leaks.longest.first == 4
        assert leaks.figures().longest_s == pytest.approx(1) and leaks.figures().longest_frames == 2
        assert leaks.seconds == pytest.approx(1.9)

    def test_tracks_are_counted_apart_and_by_type(self) -> None:
        other = track(range(4), FACE, id=2, box=(40, 5, 50, 15))
        leaks = video_leaks(tracks(track(range(10)), other, times_s=TENTHS), covered(range(8)))
        assert runs(leaks) == [("person 1", 8, 9), ("face 2", 0, 3)]
        face, person = leaks.figures(FACE), leaks.figures(PERSON)
        assert (face.object_frames, face.uncovered, face.leaks, face.longest_frames) == (4, 4, 1, 4)
        assert (person.object_frames, person.uncovered, person.leaks, person.longest_frames) == (10, 2, 1, 2)
        assert leaks.longest is not None and leaks.longest.track.id == 2

    def test_only_types_that_were_to_be_redacted_are_judged(self) -> None:
        truth = tracks(track(range(10)), track(range(4), FACE, id=2, box=(40, 5, 50, 15)), times_s=TENTHS)
        leaks = video_leaks(truth, covered(range(10)), object_types=[PERSON])
        assert runs(leaks) == [] and leaks.object_types == (PERSON,)

    def test_the_tables_hold_the_figures(self) -> None:
        other = track(range(4), FACE, id=2, box=(40, 5, 50, 15))
        leaks = video_leaks(tracks(track(range(10)), other, times_s=TENTHS), covered(range(8)), options=EXACT)
        lines = [line.split() for line in leaks.table().splitlines()]
        assert lines[1] == ["face", "1", "1", "4", "4", "(100.0%)", "1", "60.0", "4", "frames,", "0.40", "s"]
        assert lines[2] == ["person", "1", "1", "10", "2", "(20.0%)", "1", "60.0", "2", "frames,", "0.20", "s"]
        assert lines[3] == ["all", "2", "2", "14", "6", "(42.9%)", "2", "120.0", "4", "frames,", "0.40", "s"]
        assert leaks.table().endswith("Covered without need: 0.00% of a frame on average, 0.00% at most.")
        lines = [line.split() for line in leaks.track_table().splitlines()[1:]]
        assert lines[0] == ["face", "2", "4", "4", "1", "4", "frames,", "0.40", "s", "0.00", "s"]
        assert [line[0] for line in lines] == ["face", "person"]
        assert len(leaks.track_table(limit=1).splitlines()) == 2

    def test_without_objects_there_is_nothing_to_divide_by(self) -> None:
        leaks = video_leaks(tracks(times_s=TENTHS), covered([]))
        assert leaks.figures().leaks == 0 and np.isnan(leaks.figures().uncovered_share)
        assert leaks.over_redaction is None
        assert leaks.table().splitlines()[1].split() == ["all", "0", "0", "0", "-", "0", "0.0", "-"]


class TestUncovered:
    @pytest.mark.parametrize(("rows", "visible"), [(10, 0.0), (9, 0.1), (8, 0.2), (0, 1.0)])
    def test_the_share_that_lies_outside_the_mask(self, rows: int, visible: float) -> None:
        one = mask((10, 20, 20, 20 + rows))
        leaks = video_leaks(tracks(track([0]), times_s=[0, 0.1]), [(0, one)])
        assert leaks.tracks[0].visible.tolist() == pytest.approx([visible])
        assert leaks.tracks[0].uncovered.tolist() == [visible > 0.15]

    @pytest.mark.parametrize(("allowed", "uncovered"), [(0.0, True), (0.05, True), (0.15, False), (1.0, False)])
    def test_how_much_may_be_visible_can_be_said(self, allowed: float, uncovered: bool) -> None:
        one = mask((10, 20, 20, 29))
        leaks = video_leaks(tracks(track([0]), times_s=[0]), [(0, one)], visible=allowed)
        assert leaks.tracks[0].uncovered.tolist() == [uncovered]

    @pytest.mark.parametrize(("object_type", "uncovered"), [(FACE, False), (PERSON, True)])
    def test_a_face_is_the_ellipse_in_its_box(self, object_type: ObjectType, uncovered: bool) -> None:
        ellipse = object_mask(Objects(np.array([BOX], np.float32), np.zeros(1, bool)), 0, FACE, SIZE_HW)
        one = np.zeros(SIZE_HW, bool)
        one[20:30, 10:20] = ellipse.pixels
        leaks = video_leaks(tracks(track([0], object_type), times_s=[0]), [(0, one)])
        assert leaks.tracks[0].uncovered.tolist() == [uncovered]

    def test_of_what_the_border_cuts_off_the_rest_counts(self) -> None:
        truth = tracks(track([0], box=(-30, 20, 10, 30)), times_s=[0])
        leaks = video_leaks(truth, [(0, mask((0, 20, 5, 30)))])
        assert leaks.tracks[0].visible.tolist() == pytest.approx([0.5])

    @pytest.mark.parametrize("box", [(-30, 20, 0, 30), (60, 20, 70, 30), (10, -5, 20, 0), (10, 40, 20, 50)])
    def test_what_is_outside_the_frame_is_not_judged(self, box: tuple[int, ...]) -> None:
        leaks = video_leaks(tracks(track([0], box=box), times_s=[0]), [(0, mask())])
        assert leaks.figures().object_frames == 0 and runs(leaks) == []

    def test_what_is_ignored_is_not_judged_and_ends_a_leak(self) -> None:
        leaks = video_leaks(tracks(track(range(10), ignored=[4, 5]), times_s=TENTHS), covered([]))
        assert runs(leaks) == [("person 1", 0, 3), ("person 1", 6, 9)]
        assert leaks.figures().object_frames == 8

    def test_frames_without_a_mask_are_counted_and_not_judged(self) -> None:
        leaks = video_leaks(tracks(track(range(10), ignored=[9]), times_s=TENTHS), covered([], count=4))
        assert (leaks.without_mask, leaks.figures().object_frames) == (5, 4)
        assert leaks.seconds == pytest.approx(0.4)
        assert "frames have no mask: 5 object-frames" in leaks.table()

    def test_masks_may_be_smaller_than_the_frames(self) -> None:
        truth = tracks(track([0]), times_s=[0], size_hw=SIZE_HW)
        small = mask((5, 10, 10, 15), size_hw=(20, 30))
        assert video_leaks(truth, [(0, small)]).tracks[0].visible.tolist() == [0]


class TestOverRedaction:
    def test_what_lies_outside_the_objects(self) -> None:
        masks = [(0, mask((10, 20, 20, 30))), (1, mask((10, 20, 20, 30), (40, 0, 52, 10))), (2, mask())]
        leaks = video_leaks(tracks(track(range(2)), times_s=[0, 1, 2]), masks, options=EXACT)
        assert leaks.over_redaction is not None
        assert leaks.over_redaction.tolist() == pytest.approx([0, 120 / 2400, 0])
        assert "Covered without need: 1.67% of a frame on average, 5.00% at most." in leaks.table()

    def test_margins_and_ignored_objects_are_not_without_need(self) -> None:
        masks = [(0, mask((9, 19, 21, 31)))]
        truth = tracks(track([0], ignored=[0]), times_s=[0])
        with_margin, without = (
            video_leaks(truth, masks, options=replace(EXACT, margin=margin)).over_redaction for margin in (0.1, 0)
        )
        assert with_margin is not None and without is not None
        assert (with_margin.tolist(), without.tolist()) == ([0], pytest.approx([44 / 2400]))

    def test_it_is_not_said_where_a_type_is_not_labelled_completely(self) -> None:
        truth = tracks(track([0]), times_s=[0])
        assert video_leaks(truth, [(0, mask())], object_types=[PERSON, FACE]).over_redaction is None
        assert video_leaks(replace(truth, labelled=()), [(0, mask())], object_types=[PERSON]).over_redaction is None

    def test_frames_without_a_mask_have_none(self) -> None:
        leaks = video_leaks(tracks(track([1]), times_s=[0, 1]), [(1, mask((0, 0, 6, 40)))], options=EXACT)
        assert leaks.over_redaction is not None
        assert np.isnan(leaks.over_redaction[0]) and leaks.over_redaction[1] == pytest.approx(0.1)
        assert "10.00% of a frame on average" in leaks.table()


def written(
    path: Path, frames: Sequence[int], times_ms: Sequence[int], *, instances: bool = False, percent: int = 100
) -> Path:
    """A mask video in which the box of `tracked` is covered in some frames."""
    video = VideoTrack(
        0, "h264", SIZE_HW[::-1], 1, Fraction(1, 1000), Fraction(25), None, None, Fraction(1), None,
        interlaced=False, dolby_vision=False, hdr=HdrMetadata(None, None),
    )  # fmt: skip
    writer = MaskWriter(path, [video, replace(video, index=1)], instances=instances, percent=percent)
    shape = RedactionRegion(10, 20, np.full((10, 10), 255, np.uint8), PERSON, 10.0, 0)
    for number, pts in enumerate(times_ms):
        writer.write(video, pts, [shape] if number in frames else [])
        writer.write(replace(video, index=1), pts, [])
    writer.close()
    return path


class TestMaskVideos:
    UNEVEN = (500, 540, 640, 700, 1700, 1740)

    @pytest.mark.parametrize("percent", [100, 50])
    def test_times_are_those_of_its_frames(self, tmp_path: Path, percent: int) -> None:
        path = written(tmp_path / "mask.mkv", [0, 1, 4, 5], self.UNEVEN, percent=percent)
        leaks = video_leaks(tracks(track(range(6)), size_hw=SIZE_HW), path)
        assert runs(leaks) == [("person 1", 2, 3)]
        assert leaks.longest is not None
        assert (leaks.longest.start_s, leaks.longest.seconds) == (pytest.approx(0.14), pytest.approx(1.06))
        # the last frame as long as the median of the others
        assert leaks.seconds == pytest.approx(1.24 + 0.06)

    def test_frames_come_one_at_a_time(self, tmp_path: Path) -> None:
        frames = mask_frames(written(tmp_path / "mask.mkv", [0], self.UNEVEN))
        time_s, _, first = next(frames)
        assert time_s == 0.5 and first.dtype == bool
        assert first[20:30, 10:20].all() and first.sum() == 100
        assert [round(each[0], 3) for each in frames] == [0.54, 0.64, 0.7, 1.7, 1.74]

    def test_another_track_can_be_chosen(self, tmp_path: Path) -> None:
        path = written(tmp_path / "mask.mkv", range(6), self.UNEVEN)
        assert video_leaks(tracks(track(range(6))), path).figures().uncovered == 0
        assert video_leaks(tracks(track(range(6))), path, stream=1).figures().uncovered == 6
        with pytest.raises(ValueError, match=r"stream is 2, but .* has 2 video tracks"):
            video_leaks(tracks(track(range(6))), path, stream=2)

    def test_one_frame_lasts_as_long_as_the_rate_says(self, tmp_path: Path) -> None:
        leaks = video_leaks(tracks(track([0])), written(tmp_path / "mask.mkv", [], [0]))
        assert leaks.longest is not None and leaks.longest.seconds == pytest.approx(0.04)

    def test_instance_masks_are_refused(self, tmp_path: Path) -> None:
        path = written(tmp_path / "mask.mkv", [0], self.UNEVEN, instances=True)
        with pytest.raises(ValueError, match=r"bgr0, but must be binary masks in grey"):
            video_leaks(tracks(track([0])), path)

    def test_a_damaged_frame_is_an_error_and_no_leak(self, tmp_path: Path) -> None:
        path = written(tmp_path / "mask.mkv", range(6), self.UNEVEN)
        with pytest.raises(BrokenMedia):
            video_leaks(tracks(track(range(6))), damaged(path, tmp_path / "damaged.mkv", 2))

    def test_what_is_no_video_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "mask.mkv").write_bytes(b"nothing at all" * 100)
        with pytest.raises(UnsupportedMedia):
            video_leaks(tracks(track([0])), tmp_path / "mask.mkv")
        (tmp_path / "mask.jpg").write_bytes(encoded())
        with pytest.raises(UnsupportedMedia):
            video_leaks(tracks(track([0])), tmp_path / "mask.jpg")
        with pytest.raises(FileNotFoundError):
            video_leaks(tracks(track([0])), str(tmp_path / "none.mkv"))


class TestBadInput:
    TRUTH = tracks(track(range(10)), times_s=TENTHS, size_hw=SIZE_HW)

    @pytest.mark.parametrize("visible", [-0.1, 1.5, float("nan")])
    def test_a_share_that_is_none(self, visible: float) -> None:
        with pytest.raises(ValueError, match=r"visible is .*, but must be a share from 0 to 1"):
            video_leaks(self.TRUTH, [], visible=visible)

    @pytest.mark.parametrize(
        ("masks", "says"),
        [
            ([(0, mask(size_hw=(40, 40)))], r"masks has 40 x 40 pixels, but must have the shape of frames, 60 x 40"),
            ([(0, np.zeros((40, 60, 3), np.uint8))], r"shape \(40, 60, 3\) at frame 0, but must be \(h, w\)"),
            ([(3, mask()), (2, mask())], "frame 2 after frame 3, but frames must rise"),
            ([(3, mask()), (3, mask())], "frame 3 after frame 3, but frames must rise"),
            ([(10, mask())], "times_s has 10 times, but there is a mask for frame 10"),
            ([(-1, mask())], "times_s has 10 times, but there is a mask for frame -1"),
        ],
    )
    def test_masks_that_do_not_fit(self, masks: list[tuple[int, NDArray[np.uint8]]], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            video_leaks(self.TRUTH, masks)

    def test_times_have_to_be_known(self) -> None:
        truth = replace(self.TRUTH, times_s=np.empty(0))
        with pytest.raises(ValueError, match="times_s has 0 times"):
            video_leaks(truth, covered([]))
        assert video_leaks(truth, covered([]), times_s=2 * TENTHS).seconds == pytest.approx(2)
        with pytest.raises(ValueError, match="times_s must rise"):
            video_leaks(truth, covered([]), times_s=-TENTHS)

    def test_no_masks_at_all_are_no_result_but_no_error(self) -> None:
        leaks = video_leaks(self.TRUTH, [])
        assert (leaks.without_mask, leaks.seconds, leaks.figures().object_frames) == (10, 0, 0)
        assert np.isnan(leaks.figures().leaks_per_minute)


@dataclass
class Blinking(MagentaDetector):
    """Loses the box of `clip_maker.scene` in frames 2, 5, 8, ...: by where the box is, 2 pixels further in each."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        return [
            found[:0] if len(found) and round((float(found.boxes[0, 0]) - 10) / 2) % 3 == 2 else found
            for found in super().detect(images, side)
        ]


@pytest.mark.parametrize(("tracking", "leaks"), [(True, 0), (False, 10)])
def test_a_detector_that_blinks_leaks_only_without_tracking(tmp_path: Path, tracking: bool, leaks: int) -> None:
    source = make(Clip(".mkv", (Video("ffv1", "yuv444p", frames=30),)), tmp_path / "clip")
    results = []
    for name, finder, tracked in (("truth", MagentaDetector(), True), ("judged", Blinking(), tracking)):
        (tmp_path / name).mkdir()
        options = Options(bbox=True, no_object_tracking=not tracked)
        results.append(Anonymizer(store=FakeStore(finder)).video(source, tmp_path / name, options))
    truth = LabelledTracks.read_metadata(results[0].metadata, strict=True)
    assert results[1].binary_mask is not None
    judged = video_leaks(truth, results[1].binary_mask, options=results[1].options)
    figures = judged.figures()
    assert (figures.object_frames, figures.leaks, figures.longest_frames) == (30, leaks, min(leaks, 1))
    assert judged.seconds == pytest.approx(30 / 25, abs=0.002)
    if not tracking:
        assert [leak.first for leak in judged.tracks[0].leaks] == list(range(2, 30, 3))
        assert judged.over_redaction is not None and judged.over_redaction.max() == 0


def test_leaks_are_short_in_a_notebook() -> None:
    truth = tracks(track(range(10)), times_s=np.arange(10) / 10)
    leaks = video_leaks(truth, [(number, np.full((40, 60), number not in (3, 4))) for number in range(10)])
    assert repr(leaks) == "VideoLeaks(person: 1 of 1 tracks leak, 1 leaks, 60.0 a minute, the longest 0.20 s)"
    assert "2 frames, 0.20 s" in leaks._repr_html_() and leaks._repr_html_().count("<tr>") == 3
    assert len(repr(leaks.figures())) < 500
