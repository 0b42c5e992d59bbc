"""From pictures to figures: looked at once, kept, judged; what cannot be read is named and stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledImage, LabelledSet, Objects
from anonymizer.evaluation.datasets.issues import InvalidDataset, ProblemKind
from anonymizer.evaluation.metrics.detection_cache import DetectionCache
from anonymizer.evaluation.metrics.evaluate import evaluate
from anonymizer.evaluation.metrics.results import EvaluationResult
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.options.options import Options
from anonymizer.pipeline.segmentation.protocol import Segmenter
from tests.fakes import FakeDetector, FakeStore

FACE, PLATE, PERSON = ObjectType.FACE, ObjectType.LICENSE_PLATE, ObjectType.PERSON
#: what FakeDetector finds in every picture: two faces (.9, .3) and a plate (.7)
FACES, PLATES = [(20, 20, 60, 70), (200, 50, 240, 90)], [(100, 100, 160, 120)]


@dataclass
class Counting(FakeDetector):
    """Remembers how many pictures it got at a time, and how many small copies of pictures in all orientations."""

    batches: list[int] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)

    def detect(self, images: list[np.ndarray], side: int) -> list[Detections]:
        (self.batches if side in self.scales(0) else self.copies).append(len(images))
        return super().detect(images, side)


@dataclass
class Versioned(FakeStore):
    version: int = 1

    def __init__(self, detector: FakeDetector, version: int) -> None:
        super().__init__(detector)
        self.version = version

    def keys(self, object_types: Sequence[ObjectType]) -> dict[str, str]:
        return {each.value: f"fake@{self.version}" for each in object_types}


def objects(boxes: Sequence[tuple[float, ...]], ignored: Sequence[int] = ()) -> Objects:
    return Objects(np.array(boxes, np.float32).reshape(-1, 4), np.isin(np.arange(len(boxes)), ignored))


def picture(
    folder: Path,
    number: int,
    *,
    labelled: Sequence[ObjectType] = (FACE, PLATE),
    size_wh: tuple[int, int] = (320, 240),
    **known: Objects,
) -> LabelledImage:
    path = folder / f"{number}.png"
    noise = np.random.default_rng(number).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)
    cv2.imwrite(str(path), noise)
    of_type = {each: known.get(each.replace("-", "_"), objects([])) for each in ObjectType}
    return LabelledImage(number, path, "drawn", tuple(labelled), of_type, size_wh[::-1])


@pytest.fixture
def cache(tmp_path: Path) -> DetectionCache:
    return DetectionCache(tmp_path / "cache" / "detections.sqlite3")


def judged(
    images: Sequence[LabelledImage], cache: DetectionCache, detector: FakeDetector | None = None, **kwargs: object
) -> EvaluationResult:
    anonymizer = Anonymizer(store=FakeStore(detector or FakeDetector()))
    kwargs.setdefault("progress", False)
    kwargs.setdefault("options", Options(format="whole", margin=0.1))
    return evaluate(LabelledSet(tuple(images), "drawn"), anonymizer, cache=cache, **kwargs)  # type: ignore[arg-type]


def test_figures_are_those_counted_by_hand(tmp_path: Path, cache: DetectionCache) -> None:
    images = [
        picture(tmp_path, 1, face=objects(FACES), license_plate=objects(PLATES)),
        picture(tmp_path, 2, face=objects(FACES[:1]), license_plate=objects([(0, 200, 50, 230)])),
        picture(tmp_path, 3, labelled=[FACE], face=objects([])),
    ]
    result = judged(images, cache)
    face, plate = result[FACE], result[PLATE]
    assert (face.pictures, face.objects, plate.pictures, plate.objects) == (3, 3, 2, 2)
    curve = face.curve([0.2, 0.5, 0.95])
    np.testing.assert_allclose(curve.recall, [1, 2 / 3, 0])
    np.testing.assert_allclose(curve.precision, [3 / 6, 2 / 3, np.nan])
    np.testing.assert_allclose(curve.false_blurs, [3 / 3, 1 / 3, 0])
    np.testing.assert_allclose(curve.leak_rate, [0, 1 / 3, 1])
    assert plate.recall(0.5).value == 0.5
    assert plate.leak_rate(0.5).value == 0.5
    # the false plate is 60 x 20, and its soft edge fades to nothing in the sixth pixel round it
    grown = 60 * 20 + 2 * 5 * (60 + 20) + np.pi * 5**2
    assert plate.over_redaction(0.5).value * plate.pixels.sum() == pytest.approx(grown, rel=0.01)
    assert face.size_counts() == {2: 3}
    assert face.recall(0.5, size=2).value == pytest.approx(2 / 3)
    assert np.isnan(face.recall(0.5, size=1).value)


def test_a_picture_is_looked_at_once(tmp_path: Path, cache: DetectionCache) -> None:
    images = [picture(tmp_path, n, face=objects(FACES)) for n in range(4)]
    detector = FakeDetector()
    first = judged(images, cache, detector)
    calls = detector.calls
    second = judged(images, cache, detector)
    assert detector.calls == calls
    np.testing.assert_array_equal(second[FACE].match_score, first[FACE].match_score)
    np.testing.assert_array_equal(second[FACE].excess, first[FACE].excess)
    # one more picture, and only that one
    counting = Counting()
    judged([*images, picture(tmp_path, 9, face=objects(FACES))], cache, counting)
    assert counting.batches == counting.copies == [1]


def test_another_model_another_format_and_another_content_are_looked_at_again(
    tmp_path: Path, cache: DetectionCache
) -> None:
    image = picture(tmp_path, 1, face=objects(FACES))
    detector = FakeDetector()
    judged([image], cache, detector)
    for change in ("model", "format", "content"):
        before = detector.calls
        if change == "model":
            evaluate([image], Anonymizer(store=Versioned(detector, 2)), cache=cache, progress=False)
        elif change == "format":
            judged([image], cache, detector, options=Options(format="auto"))  # type: ignore[arg-type]
        else:
            picture(tmp_path, 2).path.replace(image.path)
            judged([image], cache, detector)
        assert detector.calls > before, change


def test_other_labels_for_the_same_picture_are_judged_anew(tmp_path: Path, cache: DetectionCache) -> None:
    judged([picture(tmp_path, 1, face=objects(FACES))], cache)
    detector = FakeDetector()
    again = judged([picture(tmp_path, 1, face=objects([(0, 0, 9, 9)]))], cache, detector)
    assert again[FACE].cover_score.tolist() == [-1]
    assert detector.calls == 0


def test_masks_of_another_segmenter_are_judged_anew(tmp_path: Path, cache: DetectionCache) -> None:
    person = objects([(20, 20, 60, 70)])
    image = picture(tmp_path, 1, labelled=[PERSON], person=person)

    class Finder(FakeDetector):
        def detect(self, images: list[np.ndarray], side: int) -> list[Detections]:
            return [Detections(person.boxes, [0.9], [PERSON.number], ["fake"]) for _ in images]

    class Segmented(FakeStore):
        def segmenter(self) -> Segmenter:  # type: ignore[override]
            return self.chosen

    @dataclass
    class Box:
        id: str
        asked: int = 0
        device: str = "cpu"

        def segment(self, image: np.ndarray, boxes: np.ndarray, types: np.ndarray) -> list[None]:
            self.asked += 1
            return [None] * len(boxes)

    store = Segmented(Finder())
    for name, asked in (("one", 1), ("one", 0), ("other", 1)):
        store.chosen = Box(name)
        evaluate([image], Anonymizer(store=store), cache=cache, segment=True, progress=False)
        assert store.chosen.asked == asked, name


def test_only_types_that_are_labelled_count(tmp_path: Path, cache: DetectionCache) -> None:
    result = judged([picture(tmp_path, 1, labelled=[PLATE], face=objects(FACES))], cache)
    assert set(result.types) == {PLATE}
    assert result[PLATE].false_blurs(0.5).value == 1


def test_what_is_ignored_is_neither_found_nor_missed(tmp_path: Path, cache: DetectionCache) -> None:
    face = judged([picture(tmp_path, 1, face=objects([*FACES, (1, 1, 9, 9)], ignored=[0, 2]))], cache)[FACE]
    assert (face.objects, face.match_score.tolist()) == (1, [np.float32(0.3)])
    assert (face.scores.tolist(), face.hit.tolist()) == ([np.float32(0.3)], [True])
    assert len(face.cover_score) == 1


def test_batches_hold_several_pictures_of_one_size(tmp_path: Path, cache: DetectionCache) -> None:
    images = [picture(tmp_path, n, size_wh=(320, 240) if n % 2 else (240, 320)) for n in range(40)]
    counting = Counting()
    judged(images, cache, counting)
    assert sum(counting.batches) == sum(counting.copies) == 40
    assert max(counting.batches) == max(counting.copies) == 16


def test_a_bar_shows_how_far_it_is_and_the_time_left(
    tmp_path: Path, cache: DetectionCache, capsys: pytest.CaptureFixture[str]
) -> None:
    judged([picture(tmp_path, n) for n in range(3)], cache, progress=True)
    shown = capsys.readouterr().err
    assert "detecting: 100%" in shown
    assert "3/3 [" in shown
    assert "<" in shown, "the time left stands behind it"
    judged([picture(tmp_path, n) for n in range(3)], cache, progress=True)
    assert "detecting" not in capsys.readouterr().err, "nothing is looked at the second time"


def test_corrupt_pictures_in_the_middle_are_named_and_counted(tmp_path: Path, cache: DetectionCache) -> None:
    images = [picture(tmp_path, n, face=objects(FACES)) for n in range(40)]
    images[20].path.write_bytes(images[20].path.read_bytes()[:5000])
    images[30].path.unlink()
    result = judged(images, cache)
    assert result[FACE].pictures == 38
    assert result[FACE].recall(0.5).value == 0.5
    assert result.problems.counts() == {ProblemKind.PICTURE_BROKEN: 2}
    assert {Path(each.where).name for each in result.problems} == {"20.png", "30.png"}
    # the second time as well, though the others come from the cache
    assert judged(images, cache).problems.counts() == {ProblemKind.PICTURE_BROKEN: 2}
    with pytest.raises(InvalidDataset, match=r"30\.png|20\.png"):
        judged(images, cache, strict=True)


@pytest.mark.parametrize("labelled", [None, []])
def test_without_a_picture_to_judge_there_is_no_result(
    tmp_path: Path, cache: DetectionCache, labelled: list[ObjectType] | None
) -> None:
    images = [] if labelled is None else [picture(tmp_path, 1, labelled=labelled)]
    with pytest.raises(InvalidDataset, match="drawn: no image is labelled for an object type to evaluate"):
        judged(images, cache)


def test_a_detector_that_fails_is_no_empty_result_and_what_was_done_is_kept(
    tmp_path: Path, cache: DetectionCache
) -> None:
    images = [picture(tmp_path, n, face=objects(FACES)) for n in range(20)]
    failing = Counting()

    def fail_later() -> None:
        # the first batch takes two: the pictures, and their small copies
        if failing.calls == 3:
            raise RuntimeError("no more")

    failing.during = fail_later
    with pytest.raises((DetectorFailed, RuntimeError)):
        judged(images, cache, failing)
    counting = Counting()
    assert judged(images, cache, counting)[FACE].pictures == 20
    assert counting.batches == [4], "the first sixteen are looked at no more"


def test_half_of_the_pictures_is_what_the_half_would_have_been(tmp_path: Path, cache: DetectionCache) -> None:
    images = [
        picture(tmp_path, n, face=objects(FACES[: n % 3]), license_plate=objects(PLATES[: n % 2])) for n in range(9)
    ]
    whole, half = judged(images, cache), judged(images[::2], cache)
    for each in (FACE, PLATE):
        part = whole[each].of_pictures(np.arange(9) % 2 == 0)
        for name in (
            "pixels",
            "object_picture",
            "object_boxes",
            "match_score",
            "cover_score",
            "picture",
            "scores",
            "hit",
        ):
            np.testing.assert_array_equal(getattr(part, name), getattr(half[each], name), err_msg=name)
        np.testing.assert_array_equal(part.excess, half[each].excess)
