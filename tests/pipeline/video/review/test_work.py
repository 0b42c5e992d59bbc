"""A video that is rendered again after a review: what changes, and what is copied from the version before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer import Anonymizer, Detections, Options
from anonymizer.pipeline.media_kinds import sniff
from anonymizer.pipeline.results import VideoResult
from anonymizer.pipeline.review.edits import parse_review
from anonymizer.pipeline.review.state import ReviewState
from anonymizer.pipeline.video.review.base import BaseFiles
from anonymizer.pipeline.video.review.kept import KeptVideo
from anonymizer.pipeline.video.review.work import plan_review
from tests.clip_maker import Clip, Sound, box_at, make
from tests.clip_zoo import h264
from tests.fakes import FakeStore, MagentaDetector

pytestmark = pytest.mark.slow

CLIP = Clip(".mp4", (h264(frames=60, options={"preset": "veryfast", "crf": "22", "g": "25"}),), (Sound(),))
SIZE_WH = CLIP.videos[0].size_wh
OPTIONS = Options(license_plate=True, method="blacken", margin=0.0)


class FaintDetector(MagentaDetector):
    """Sees the magenta box with a score below the default threshold."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        return [replace(found, scores=found.scores / 3) for found in super().detect(images, side)]


class Reviews:
    """A clip, its first result, and reviews of it one after the other."""

    def __init__(self, folder: Path, options: Options = OPTIONS, detector: MagentaDetector | None = None) -> None:
        self.folder, self.options, self.detector = folder, options, detector or MagentaDetector()
        self.anonymizer = Anonymizer(store=FakeStore(self.detector), noise_key=b"key")
        self.source = make(CLIP, folder / "clip")
        self.info = sniff(self.source.read_bytes()[:4096])
        self.state = ReviewState()
        self.result = self._made(keep=True)
        assert self.result.kept is not None
        self.kept = KeptVideo.load(self.result.kept)

    def _made(self, **values: Any) -> VideoResult:
        place = self.folder / f"result-{len(list(self.folder.iterdir()))}"
        place.mkdir()
        return self.anonymizer.video(self.source, place, values.pop("options", self.options), name="a.mp4", **values)

    def review(self, *, fresh: bool = False, **body: Any) -> VideoResult:
        """Render a review; fresh: without the files of the version before."""

        def key_of(name: str, reference: Any) -> str:
            added = reference.number - self.kept.next_id
            return f"a{added}" if added >= 0 else f"t{reference.number}"

        state = self.state.apply(parse_review(body).edits, key_of)
        before = self.result
        assert before.anonymised is not None
        assert before.binary_mask is not None
        assert before.instance_mask is not None
        base = BaseFiles(before.anonymised, before.info, before.metadata, (before.binary_mask, before.instance_mask))
        work = plan_review(
            (self.source, self.info), self.kept, (self.state, state), self.options, None if fresh else base
        )
        result = self._made(options=work.after.options, review=work)
        if not fresh:
            self.state, self.result = state, result
        return result


def frames(path: Path | None) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="gray") for frame in file.decode(video=0)]


def rows(result: VideoResult) -> list[list[dict[str, Any]]]:
    return [frame["detections"] for frame in json.loads(result.metadata.read_text())]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    return Reviews(tmp_path_factory.mktemp("reviews"))


def test_only_the_groups_that_change_are_encoded_again(reviews: Reviews) -> None:
    calls, first = reviews.detector.calls, reviews.result
    keys = [{"time": 1.2, "box": [10, 10, 30, 30]}, {"time": 1.6, "box": [30, 10, 50, 30]}]
    result = reviews.review(add=[{"type": "face", "keyframes": keys}])
    assert reviews.detector.calls == calls
    # groups of 25 frames: the second one changes
    assert result.frames_copied == 35
    assert result.counts == {"face": 1, "license-plate": 1}
    before, after = frames(first.anonymised), frames(result.anonymised)
    assert len(after) == len(before) == 60
    for number in (*range(25), *range(50, 60)):
        assert (before[number] == after[number]).all(), number
    added = [[row["bbox"] for row in of_frame if row["type_label"] == "face"] for of_frame in rows(result)]
    shown = [number for number, boxes in enumerate(added) if boxes]
    assert shown[0] >= 29
    assert shown[-1] <= 41
    middle = shown[len(shown) // 2]
    x1, y1, x2, y2 = added[middle][0]
    assert abs(x1 - 20) <= 2
    assert after[middle][y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() < 24
    # metadata and masks are those of a rendering from nothing
    whole = reviews.review(fresh=True, comment="anew")
    assert rows(whole) == rows(result)
    for one, other in ((whole.binary_mask, result.binary_mask), (whole.instance_mask, result.instance_mask)):
        assert all((a == b).all() for a, b in zip(frames(one), frames(other), strict=True))


def test_a_track_is_dropped_and_one_stays_visible(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path)
    (track_id,) = {row["track_id"] for of_frame in rows(reviews.result) for row in of_frame}
    redacted = frames(reviews.result.anonymised)
    seen = next(number for number, of_frame in enumerate(rows(reviews.result)) if of_frame)
    x1, y1, x2, y2 = rows(reviews.result)[seen][0]["bbox"]
    result = reviews.review(visible=[{"track_id": track_id}])
    assert {row["is_anonymised"] for of_frame in rows(result) for row in of_frame} == {False}
    assert result.counts == {"license-plate": 0}
    assert redacted[seen][y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() < 24
    assert frames(result.anonymised)[seen][y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() > 30
    result = reviews.review(change=[{"track_id": track_id, "method": "pixelate"}])
    assert {row["method"] for of_frame in rows(result) for row in of_frame} == {"pixelate"}
    result = reviews.review(drop=[{"track_id": track_id}])
    assert not any(rows(result))
    # nothing is redacted any more: every group is that of the source
    assert result.frames_copied == 60


def test_an_object_that_is_followed_is_redacted_where_it_is(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path, replace(OPTIONS, license_plate_threshold=1.0))
    assert not any(rows(reviews.result))
    box = list(box_at(30, SIZE_WH))
    added = [{"type": "license-plate", "keyframes": [{"time": 1.2, "box": box}], "follow": "both", "to": 1.28}]
    result = reviews.review(add=added)
    assert result.counts["license-plate"] == 1
    shown = [number for number, of_frame in enumerate(rows(result)) if of_frame]
    assert {29, 30, 31, 32} <= set(shown)
    assert shown[-1] == 32
    # its key frame has it exactly where it was drawn
    assert [row["bbox"] for row in rows(result)[30]] == [box]


def test_a_candidate_is_taken_by_hand_or_by_a_lower_threshold_and_dropped_again(tmp_path: Path) -> None:
    reviews = Reviews(tmp_path, detector=FaintDetector())
    assert not any(rows(reviews.result))
    ((number, (_, sightings)),) = reviews.kept.candidates().items()
    assert sightings.stop - sightings.start > 50
    calls = reviews.detector.calls
    by_threshold = reviews.review(fresh=True, thresholds={"license-plate": 0.29})
    assert reviews.review(fresh=True, thresholds={"license-plate": 0.31}).counts == {"license-plate": 0}
    result = reviews.review(take=[{"candidate": number}])
    assert reviews.detector.calls == calls
    assert result.counts == by_threshold.counts == {"license-plate": 1}
    assert rows(result) == rows(by_threshold)
    seen = next(at for at, of_frame in enumerate(rows(result)) if of_frame and at > 5)
    ((x1, y1, x2, y2),) = [row["bbox"] for row in rows(result)[seen]]
    assert frames(result.anonymised)[seen][y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].mean() < 24
    result = reviews.review(drop=[{"track_id": number}])
    assert not any(rows(result))
    assert result.frames_copied == 60
