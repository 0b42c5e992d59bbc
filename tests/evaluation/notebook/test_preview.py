"""A picture as it would be redacted, and what is right and wrong in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anonymizer.evaluation.notebook.preview import ImageCounts, ImageOrder, Preview, order_images
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.outputs.overlay import COLOURS
from tests.evaluation import found
from tests.evaluation.made import FACE, NEVER, PERSON, PLATE_TYPE, SECOND, made, models_and_cache
from tests.fakes import FakeDetector


def at(face: float) -> dict[ObjectType, float]:
    return {FACE: face, PLATE_TYPE: 0.5, PERSON: 0.4}


@pytest.mark.parametrize(
    ("order", "face", "image_indices"),
    [
        (ImageOrder.SET, 0.5, (0, 1, 2)),
        (ImageOrder.MISSES, 0.2, (1, 0, 2)),
        (ImageOrder.MISSES, 0.95, (0, 1, 2)),
        (ImageOrder.FALSE_BLURS, 0.5, (2, 0, 1)),
        (ImageOrder.FALSE_BLURS, 0.2, (2, 1, 0)),
    ],
)
def test_the_worst_pictures_come_first(
    tmp_path: Path, order: ImageOrder, face: float, image_indices: tuple[int, ...]
) -> None:
    assert order_images(made(tmp_path), at(face), order) == list(image_indices)


@pytest.mark.parametrize(
    ("index", "face", "counts"),
    [
        (0, 0.2, ImageCounts(objects=2, detected=2, leaks=0, false_blurs=0)),
        (0, 0.5, ImageCounts(objects=2, detected=1, leaks=1, false_blurs=0)),
        (1, 0.2, ImageCounts(objects=2, detected=1, leaks=1, false_blurs=1)),
        (2, 0.95, ImageCounts(objects=0, detected=0, leaks=0, false_blurs=0)),
        (2, 0.2, ImageCounts(objects=0, detected=0, leaks=0, false_blurs=2)),
    ],
)
def test_it_counts_what_is_right_and_wrong(tmp_path: Path, index: int, face: float, counts: ImageCounts) -> None:
    assert Preview(made(tmp_path), index).counts(at(face))[FACE] == counts


def test_only_types_that_are_labelled_in_the_picture_are_counted(tmp_path: Path) -> None:
    assert list(Preview(made(tmp_path), 0).counts(at(0.5))) == [FACE, PERSON]


@pytest.mark.parametrize("as_served", [True, False])
def test_what_reaches_its_threshold_is_redacted_and_nothing_else(tmp_path: Path, as_served: bool) -> None:
    preview = Preview(made(tmp_path), 0, *(models_and_cache(tmp_path) if as_served else ()))

    none, first, both = (
        (preview.draw(at(face), boxes=False) != preview.pixels).any(axis=2) for face in (0.95, 0.5, 0.2)
    )

    x1, y1, x2, y2 = SECOND
    inside = np.s_[y1 + 8 : y2 - 8, x1 + 8 : x2 - 8]
    assert not none.any()
    assert first.any() and not first[inside].any()
    assert both[inside].mean() > 0.9


def test_nothing_is_looked_at_again(tmp_path: Path) -> None:
    result, (anonymizer, cache) = made(tmp_path), models_and_cache(tmp_path)
    (detector,) = anonymizer.store.detectors([FACE])

    Preview(result, 0, anonymizer, cache).draw(at(0.2))

    assert isinstance(detector, FakeDetector) and detector.calls == 0


def test_persons_are_redacted_by_their_outline_where_the_models_are_given(tmp_path: Path) -> None:
    box = (40, 10, 120, 95)
    result = found.evaluate_pictures(tmp_path, [{PERSON: ([box], [(*box, 0.9)])}], options=Options(margin=0))
    as_box, as_outline = (
        Preview(result, 0, *given).draw(at(0.5), method=Method.BLACKEN, boxes=False)
        for given in ((), models_and_cache(tmp_path))
    )

    inside = np.s_[12:93, 42:118]
    assert not as_box[inside].any()
    assert as_outline[inside].any() and not as_outline[50:60, 75:85].any()


def test_what_is_missed_is_dashed_and_what_is_found_is_not(tmp_path: Path) -> None:
    result = made(tmp_path)

    def along_the_left(box: tuple[int, int, int, int], place: int) -> float:
        pixels = Preview(result, place).draw(at(0.2), method=Method.DETECT)
        x1, y1, _, y2 = box
        return float((pixels[y1:y2, x1] == COLOURS[FACE]).all(axis=-1).mean())

    hit, missed, false_blur = along_the_left(SECOND, 0), along_the_left(NEVER, 1), along_the_left(SECOND, 1)

    assert hit > 0.95
    assert 0.3 < missed < 0.9
    assert 0.2 < false_blur < 0.9


def test_objects_that_count_neither_way_are_grey(tmp_path: Path) -> None:
    result = made(tmp_path)
    result.images[2].objects[FACE] = found.objects([NEVER], ignored=[0])

    pixels = Preview(result, 2).draw(at(0.95), method=Method.DETECT)

    x1, y1, _, y2 = NEVER
    assert (np.ptp(pixels[y1:y2, x1].astype(int), axis=-1) == 0).all()


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    preview = Preview(made(tmp_path), 0)

    assert preview.draw(at(0.5), side=160).shape == (80, 160, 3)
    assert preview.draw(at(0.5), side=None).shape == (100, 200, 3)


def test_an_anonymizer_with_other_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"The result for faces is of fake@1, but the anonymizer has other@1\."):
        Preview(made(tmp_path), 0, *models_and_cache(tmp_path, "other"))


def test_a_picture_that_is_gone_is_named(tmp_path: Path) -> None:
    result = made(tmp_path)
    result.images[0].path.unlink()

    with pytest.raises(ValueError, match=r"0\.png cannot be read"):
        Preview(result, 0)


def test_a_preview_is_short_in_a_notebook(tmp_path: Path) -> None:
    assert repr(Preview(made(tmp_path), 0)) == "Preview(0.png, 200 x 100 pixels, labelled: face, person)"
