"""Pictures that lie on their side or upside down, through the engine."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.datasets.dataset import LabelledSet
from anonymizer.evaluation.metrics.matching import DetectionCounts
from anonymizer.pipeline.anonymizer import Anonymizer
from anonymizer.pipeline.detection.protocol import Image
from anonymizer.pipeline.detection.turned import QUARTERS, turn, turn_back
from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.engine import Engine
from anonymizer.pipeline.images.in_memory import picture_of_array
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.options.formats import Auto, Format, Pano, Thorough, Tiles, Whole
from anonymizer.pipeline.options.options import Options
from tests.fakes import FakeStore
from tests.pipeline.detection.upright import SIZE_HW, UprightDetector, drawn

FACE, PERSON = ObjectType.FACE, ObjectType.PERSON


@pytest.fixture(scope="module")
def installed() -> Engine:
    return Engine(store=ModelStore(device="cpu", models="embedded"))


def boxes_before(found: Detections, quarters: int) -> list[list[int]]:
    """Boxes in a picture of `SIZE_HW` before it was turned, from left to right."""
    return sorted(turn_back(found, quarters, SIZE_HW).boxes.round().astype(int).tolist())


def with_one_that_lies() -> Image:
    """Two upright objects, and one that was turned."""
    image = drawn((20, 40), (140, 40))
    image[120:240, 200:320] = turn(drawn((40, 40), size_hw=(120, 120)), 1)
    return image


@pytest.mark.parametrize("quarters", QUARTERS)
@pytest.mark.parametrize("form", [Whole(), Auto(), Thorough()])
def test_turned_objects_are_found_at_their_places(quarters: int, form: Format) -> None:
    engine = Engine(store=FakeStore(UprightDetector()))
    image = turn(drawn((100, 100), (200, 60)), quarters)

    assert len(engine.detect([image], [FACE], form)[0]) == 0
    (found,) = engine.detect_images([image], [FACE], form)

    assert boxes_before(found, quarters) == [[100, 100, 140, 140], [200, 60, 240, 100]]


def test_upright_and_turned_finds_are_returned_once_each() -> None:
    engine = Engine(store=FakeStore(UprightDetector(), cost=4))

    (found,) = engine.detect_images([with_one_that_lies()], [FACE], Whole())

    assert len(found) == 3
    # the cost of a miss counts once: 4 * .9 / (4 * .9 + .1)
    assert found.scores == pytest.approx([3.6 / 3.7] * 3)


@pytest.mark.parametrize("form", [Pano(640), Tiles(2, 2, 0.1, 0.1)])
def test_panoramas_and_given_tiles_are_not_turned(form: Format) -> None:
    engine = Engine(store=FakeStore(UprightDetector()))

    assert len(engine.detect_images([turn(drawn((100, 100)), 1)], [FACE], form)[0]) == 0


def test_without_object_types_nothing_is_looked_at() -> None:
    engine = Engine(store=FakeStore(UprightDetector()))

    assert len(engine.detect_images([drawn((100, 100))], [], Whole())[0]) == 0


def test_a_detector_that_fails_at_the_small_copies_gives_no_result() -> None:
    class Failing(UprightDetector):
        def detect(self, images: Sequence[Image], side: int) -> list[Detections]:
            if side != 320:
                raise RuntimeError("broken")
            return super().detect(images, side)

    with pytest.raises(RuntimeError, match="broken"):
        Engine(store=FakeStore(Failing())).detect_images([drawn()], [FACE], Whole())


def transparent(rgb: Image) -> Image:
    """The picture with hidden colours, so that only a background of grey shows what is drawn."""
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    rgba[(rgb == 127).all(2)] = (240, 20, 20, 0)
    return rgba


def test_a_turned_object_that_only_a_background_shows_is_found() -> None:
    rgba = transparent(turn(drawn((100, 100)), 1))

    (found,) = Engine(store=FakeStore(UprightDetector())).detect_pictures([picture_of_array(rgba)], [FACE], Whole())

    assert [100, 100, 140, 140] in boxes_before(found, 1)


class TestPersons:
    def test_one_who_lies_has_the_whole_box_as_the_mask_and_others_do_not(self) -> None:
        engine = Engine(store=FakeStore(UprightDetector(PERSON)))

        (found,) = engine.detect_images([with_one_that_lies()], [PERSON], Whole())

        assert [mask is not None for mask in found[np.argsort(found.boxes[:, 0])].masks] == [False, False, True]

    @pytest.mark.parametrize("look", [turn, lambda image, quarters: transparent(turn(image, quarters))])
    def test_no_pixel_of_the_box_stays_bare_whatever_the_segmenter_says(self, look: object) -> None:
        anonymizer = Anonymizer(store=FakeStore(UprightDetector(PERSON)))
        image = look(drawn((100, 100)), 1)  # type: ignore[operator]

        result = anonymizer.image(image, Options(person=True))

        (box,) = turn_back(result.detections, 0, image.shape[:2]).boxes.astype(int).tolist()
        covered = result.regions[0]
        inside = np.zeros(image.shape[:2], bool)
        inside[covered.crop] = covered.alpha == 255
        assert inside[box[1] : box[3], box[0] : box[2]].all()

    def test_the_mask_stays_if_another_segmenter_makes_all_others_again(self) -> None:
        engine = Engine(store=FakeStore(UprightDetector(PERSON)))
        image = turn(drawn((100, 100)), 1)
        (found,) = engine.detect_images([image], [PERSON], Whole())
        stored = io.BytesIO()
        found.save(stored)
        stored.seek(0)

        kept = Detections.load(stored).without_made_masks()
        kept = engine.add_masks((320, 240), lambda: image, kept, np.ones(len(kept), bool))

        (mask,), (box,) = kept.masks, kept.boxes.astype(int)
        assert mask is not None
        assert mask.full((320, 240))[box[1] : box[3], box[0] : box[2]].all()


def test_the_installed_models_find_faces_at_a_quarter_turn(installed: Engine, data: Path) -> None:
    before, after = DetectionCounts(0.5), DetectionCounts(0.5)
    for number, image in enumerate(list(LabelledSet.read(data / "val.json").of(["masks"]))[::6]):
        pixels, quarters = image.pixels(), (1, 3)[number % 2]
        turned, size_hw = turn(pixels, quarters), (pixels.shape[0], pixels.shape[1])
        for counts, detect in ((before, installed.detect), (after, installed.detect_images)):
            found = turn_back(detect([turned], [FACE], Auto())[0], quarters, size_hw)
            counts.add(found.boxes, found.scores, image.objects[FACE])

    assert before.recall < 0.7
    assert after.recall >= 0.88
