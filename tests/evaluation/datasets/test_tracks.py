"""Files with tracks, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anonymizer import Anonymizer, ObjectType
from anonymizer.evaluation.datasets.issues import InvalidDataset, ProblemKind
from anonymizer.evaluation.datasets.tracks import LabelledTracks, consecutive, frame_seconds
from tests.clip_maker import box_at, make
from tests.clip_zoo import CLIPS
from tests.evaluation.tracked import FACE, PERSON, track, tracks
from tests.fakes import FakeStore, MagentaDetector

GOOD = "1,7,11,21,10,10,1,1,0.9"
INFO = "[Sequence]\nname=MOT17-02\nframeRate=20\nseqLength=40\nimWidth=64\nimHeight=48\n"


def mot(folder: Path, *lines: str, info: str | None = None) -> Path:
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("\n".join(lines) + "\n")
    if info is not None:
        (folder / "seqinfo.ini").write_text(info)
    return folder / "gt" / "gt.txt"


def frame(number: int, *detections: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": number, "time": number / 10, "size": [48, 64], "detections": list(detections)} | more


def detection(**more: Any) -> dict[str, Any]:
    return {"bbox": [1, 2, 11, 22], "type_label": "face", "track_id": 3, "source": "detector"} | more


def metadata(folder: Path, content: object) -> Path:
    path = folder / "reviewed.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


class TestMotChallenge:
    def test_frames_and_pixels_are_counted_from_one(self, tmp_path: Path) -> None:
        read = LabelledTracks.read_mot(mot(tmp_path, "3,7,12.5,21,10,10,1,1,0.9", "1,7,11,21,10,10,1,1,1"))
        (one,) = read.tracks
        assert (one.id, one.object_type) == (7, PERSON)
        assert one.frames.tolist() == [0, 2]
        assert one.boxes.tolist() == [[10, 20, 20, 30], [11.5, 20, 21.5, 30]]
        assert read.labelled == (PERSON,) and len(read.problems) == 0

    def test_confidence_zero_is_ignored(self, tmp_path: Path) -> None:
        read = LabelledTracks.read_mot(mot(tmp_path, GOOD, "2,7,11,21,10,10,0,1,0.9"))
        assert read.tracks[0].ignored.tolist() == [False, True]

    @pytest.mark.parametrize(
        "line",
        [
            "1,7,11,21,10,10",
            "1,7,11,21,10,10,1",
            "1,7,11,21,10,10,1,-1,-1",
            "1,7,11,21,10,10,1,-1,-1,-1",
            "1,7,11,21,10,10,1,3.21,-7.5,0",
            " 1, 7, 11, 21, 10, 10, 1, 1, 0.5 \r",
        ],
        ids=["six columns", "seven columns", "no class", "2015", "2015 with a world", "spaces"],
    )
    def test_other_forms_of_the_same_line(self, tmp_path: Path, line: str) -> None:
        read = LabelledTracks.read_mot(mot(tmp_path, line), strict=True)
        assert read.tracks[0].boxes.tolist() == [[10, 20, 20, 30]]
        assert read.tracks[0].object_type is PERSON

    def test_classes_are_what_the_caller_says(self, tmp_path: Path) -> None:
        lines = [f"1,{number},11,21,10,10,1,{kind},1" for number, kind in enumerate((1, 3, 7, 9, 9), 1)]
        types = {1: PERSON, 3: ObjectType.VEHICLE, 7: None}
        read = LabelledTracks.read_mot(mot(tmp_path, *lines), types=types)
        assert [(each.id, each.object_type) for each in read.tracks] == [(1, PERSON), (2, ObjectType.VEHICLE)]
        assert read.labelled == (PERSON, ObjectType.VEHICLE)
        (problem,) = read.problems
        assert problem.kind is ProblemKind.TYPE_UNKNOWN
        assert "'class 9' is not a known object type; labels left out: 2" in str(problem)

    def test_a_number_that_two_types_have_is_two_tracks(self, tmp_path: Path) -> None:
        types = {1: PERSON, 2: FACE}
        read = LabelledTracks.read_mot(mot(tmp_path, GOOD, "1,7,11,21,10,10,1,2,1"), types=types)
        assert [each.object_type for each in read.tracks] == [PERSON, FACE]

    def test_times_and_size_come_from_the_sequence(self, tmp_path: Path) -> None:
        mot(tmp_path, GOOD, info=INFO)
        read = LabelledTracks.read_mot(tmp_path)
        assert read.times_s.tolist() == pytest.approx(np.arange(40) / 20)
        assert (read.size_hw, read.frames) == ((48, 64), 40)

    @pytest.mark.parametrize(
        ("info", "says"),
        [
            ("no settings", "no section headers"),
            ("[Other]\n", "no section [Sequence]"),
            (INFO.replace("20", "-20"), "frameRate is -20"),
            (INFO.replace("40", "many"), "not numbers"),
            (INFO.replace("40", "1e8"), "seqLength is 1e+08, not a whole number from 0 to 10000000"),
        ],
    )
    def test_a_bad_sequence_is_said_and_left_aside(self, tmp_path: Path, info: str, says: str) -> None:
        read = LabelledTracks.read_mot(mot(tmp_path, GOOD, info=info))
        assert len(read.tracks) == 1 and len(read.times_s) == 0 and read.size_hw is None
        (problem,) = read.problems
        assert says in str(problem) and "seqinfo.ini" in problem.where

    @pytest.mark.parametrize(
        ("line", "kind", "says"),
        [
            ("1,7,11", ProblemKind.LABEL_BROKEN, "it has 3 columns, not 6 or more"),
            ("frame,id,x,y,w,h", ProblemKind.LABEL_BROKEN, "not numbers"),
            ("0,7,11,21,10,10,1,1,1", ProblemKind.LABEL_BROKEN, "the frame is 0, not a whole number from 1"),
            ("1.5,7,11,21,10,10,1,1,1", ProblemKind.LABEL_BROKEN, "the frame is 1.5"),
            ("1,-1,11,21,10,10,1,1,1", ProblemKind.LABEL_BROKEN, "the id is -1"),
            ("1,7,nan,21,10,10,1,1,1", ProblemKind.LABEL_BROKEN, "not numbers"),
            ("1,7,11,21,10,10,1,car,1", ProblemKind.LABEL_BROKEN, "the class is ['car']"),
            ("1,7,11,21,0,10,1,1,1", ProblemKind.BOX_EMPTY, "has no area"),
            ("1,7,-30,21,10,10,1,1,1", ProblemKind.BOX_OUTSIDE, "outside the frame"),
            ("1,7,80,21,10,10,1,1,1", ProblemKind.BOX_OUTSIDE, "outside the frame"),
            (GOOD, ProblemKind.LABEL_BROKEN, "person 7 is there twice in this frame"),
        ],
    )
    def test_a_bad_line_is_named_and_left_out(self, tmp_path: Path, line: str, kind: ProblemKind, says: str) -> None:
        file = mot(tmp_path, GOOD, "2,7,11,21,10,10,1,1,0.9", line, info=INFO)
        read = LabelledTracks.read_mot(file)
        assert [each.frames.tolist() for each in read.tracks] == [[0, 1]]
        (problem,) = read.problems
        assert problem.kind is kind and says in problem.detail
        assert problem.where == f"{file}, line 3"
        with pytest.raises(InvalidDataset, match=kind):
            LabelledTracks.read_mot(file, strict=True)

    def test_a_file_without_objects_is_said(self, tmp_path: Path) -> None:
        read = LabelledTracks.read_mot(mot(tmp_path, ""))
        assert read.tracks == () and read.problems.counts() == {ProblemKind.EMPTY_SET: 1}

    def test_no_file_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            LabelledTracks.read_mot(tmp_path / "gt.txt")


class TestMetadata:
    def test_what_a_result_says(self, tmp_path: Path) -> None:
        anonymizer = Anonymizer(store=FakeStore(MagentaDetector()))
        source = make(CLIPS["variable-rate-mkv"], tmp_path / "clip")
        (tmp_path / "result").mkdir()
        result = anonymizer.video(source, tmp_path / "result")
        read = LabelledTracks.read_metadata(result.metadata, strict=True)
        (one,) = read.tracks
        assert one.frames.tolist() == list(range(30)) and not one.filled.any()
        assert read.labelled == (ObjectType.LICENSE_PLATE,) and read.size_hw == (144, 192)
        boxes = np.array([box_at(number, (192, 144)) for number in range(30)])
        assert np.abs(one.boxes - boxes).max() <= 2
        times_s = np.array([each["time"] for each in json.loads(result.metadata.read_text())])
        assert read.times_s.tolist() == pytest.approx(times_s - times_s[0])

    def test_what_the_tracker_filled_is_marked(self, tmp_path: Path) -> None:
        content = [frame(0, detection()), frame(1, detection(source="tracker"))]
        assert LabelledTracks.read_metadata(metadata(tmp_path, content)).tracks[0].filled.tolist() == [False, True]

    def test_what_has_no_track_is_a_track_of_one_frame(self, tmp_path: Path) -> None:
        content = [frame(0, detection(track_id=None), detection(track_id=None)), frame(1, detection(track_id=None))]
        read = LabelledTracks.read_metadata(metadata(tmp_path, content), strict=True)
        assert [(each.id, each.frames.tolist()) for each in read.tracks] == [(-1, [0]), (-2, [0]), (-3, [1])]
        assert {each.words for each in read.tracks} == {"face, no track"}

    def test_a_video_in_which_nothing_is_found_is_no_problem(self, tmp_path: Path) -> None:
        read = LabelledTracks.read_metadata(metadata(tmp_path, [frame(0), frame(1)]), strict=True)
        assert read.tracks == () and read.labelled == () and read.frames == 2

    def test_times_of_frames_that_are_missing_lie_between(self, tmp_path: Path) -> None:
        read = LabelledTracks.read_metadata(metadata(tmp_path, [frame(0), frame(1, time=0.2), frame(3, time=0.8)]))
        assert read.times_s.tolist() == pytest.approx([0, 0.2, 0.5, 0.8])

    def test_video_tracks_are_told_apart(self, tmp_path: Path) -> None:
        content = [frame(0, detection(), stream=0), frame(0, stream=4, size=[10, 20]), frame(1, stream=4)]
        path = metadata(tmp_path, content)
        first, second = (LabelledTracks.read_metadata(path, stream=n, strict=True) for n in (0, 1))
        assert (len(first.tracks), first.frames, first.size_hw) == (1, 1, (48, 64))
        assert (len(second.tracks), second.frames, second.size_hw) == (0, 2, (10, 20))
        assert LabelledTracks.read_metadata(path, stream=2).problems.counts() == {ProblemKind.EMPTY_SET: 1}

    @pytest.mark.parametrize("content", ["[{", "{}", '"text"', "\0"])
    def test_what_is_no_metadata_is_said(self, tmp_path: Path, content: str) -> None:
        read = LabelledTracks.read_metadata(metadata(tmp_path, content))
        assert read.problems.counts() == {ProblemKind.EMPTY_SET: 1, ProblemKind.LABEL_BROKEN: 1}

    @pytest.mark.parametrize(
        ("bad", "where", "says"),
        [
            ("text", "entry 1", "not a frame"),
            ({"id": 1, "time": 0.1}, "entry 1", "not a frame"),
            (frame(0), "entry 1", "number and time are 0 and 0 s, not above 0 and 0 s"),
            (frame(1, time=-1), "entry 1", "1 and -1 s"),
            (frame(-1), "entry 1", "the id is -1"),
            (frame(1, time="soon"), "entry 1", "not numbers"),
            (frame(1, 5), "frame 1, detection 0", "it is not a detection"),  # type: ignore[arg-type]
            (frame(1, detection(bbox=[1, 2, 3])), "frame 1, detection 0", "bbox has 3 numbers, not 4"),
            (frame(1, detection(bbox=None)), "frame 1, detection 0", "not numbers"),
            (frame(1, detection(bbox=[5, 5, 5, 9])), "frame 1, detection 0", "has no area"),
            (frame(1, detection(track_id=-4)), "frame 1, detection 0", "track_id is -4"),
            (frame(1, detection(type_label="cat")), "", "'cat' is not a known object type; labels left out: 1"),
        ],
    )
    def test_a_bad_entry_is_named_and_left_out(self, tmp_path: Path, bad: object, where: str, says: str) -> None:
        path = metadata(tmp_path, [frame(0, detection()), bad, frame(2, detection())])
        read = LabelledTracks.read_metadata(path)
        assert [each.frames.tolist() for each in read.tracks] == [[0, 2]]
        (problem,) = read.problems
        assert says in problem.detail and problem.where == (f"{path}, {where}" if where else str(path))
        with pytest.raises(InvalidDataset):
            LabelledTracks.read_metadata(path, strict=True)

    @pytest.mark.parametrize("size", [[1, 2, 3], "large", [-1, 5]])
    def test_a_bad_size_is_said(self, tmp_path: Path, size: object) -> None:
        read = LabelledTracks.read_metadata(metadata(tmp_path, [frame(0, detection(), size=size)]))
        assert read.size_hw is None and len(read.tracks) == 1
        assert read.problems.counts() == {ProblemKind.LABEL_BROKEN: 1}


def test_tracks_lie_in_the_order_of_their_first_frames(tmp_path: Path) -> None:
    content = [frame(0, detection(track_id=9)), frame(1, detection(track_id=2)), frame(2, detection(track_id=9))]
    read = LabelledTracks.read_metadata(metadata(tmp_path, content))
    assert [(each.id, each.frames.tolist()) for each in read.tracks] == [(9, [0, 2]), (2, [1])]


def test_between_sightings_gaps_stay_and_the_rest_that_was_filled_goes() -> None:
    all_filled = track(range(3), id=2, filled=[0, 1, 2])
    (one,) = tracks(track(range(2, 10), filled=[2, 3, 5, 9]), all_filled).between_sightings().tracks
    assert one.frames.tolist() == [4, 5, 6, 7, 8]
    assert one.filled.tolist() == [False, True, False, False, False]
    assert len(one.boxes) == len(one.ignored) == 5


def test_the_table_says_who_saw_what() -> None:
    loose = track([3], FACE, id=-1)
    lines = tracks(track(range(2, 12), filled=[2, 5, 6, 8]), loose, times_s=np.arange(12) / 10).table().splitlines()
    assert lines[0].split() == ["from", "to", "frames", "seen", "in", "gaps", "longest", "gap", "around"]
    assert lines[1].split() == ["person", "1", "0.20", "s", "1.10", "s", "10", "6", "3", "2", "1"]
    assert lines[2:] == ["Detections that belong to no track: 1."]


@pytest.mark.parametrize(("frames", "runs"), [([], []), ([4], [[4]]), ([0, 1, 2, 5, 7, 8], [[0, 1, 2], [5], [7, 8]])])
def test_runs_of_frames(frames: list[int], runs: list[list[int]]) -> None:
    assert [each.tolist() for each in consecutive(np.array(frames, np.int64))] == runs


@pytest.mark.parametrize(
    ("times_s", "seconds"), [([], []), ([3.0], [0.04]), ([0.0, 0.1, 0.5, 0.6], [0.1, 0.4, 0.1, 0.1])]
)
def test_how_long_frames_are_shown(times_s: list[float], seconds: list[float]) -> None:
    assert frame_seconds(np.array(times_s), only_s=0.04).tolist() == pytest.approx(seconds)
