"""What the measures of strength say of things whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from anonymizer.evaluation.metrics.redaction_strength import Cutout, linkage_rate, random_pattern, similarity
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
BLUR, PIXELATE, BLACKEN = (Options(method=each) for each in (Method.BLUR, Method.PIXELATE, Method.BLACKEN))


def test_a_picture_is_similar_to_itself_to_its_negative_and_not_to_noise() -> None:
    picture, noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    assert similarity(picture, picture) == pytest.approx(1)
    assert similarity(picture, 255 - picture) == pytest.approx(1)
    assert similarity(picture, noise) < 0.05
    assert similarity(picture, np.zeros_like(picture)) == 0


@pytest.mark.parametrize("method", [BLUR, PIXELATE, BLACKEN], ids=lambda each: each.method)
@pytest.mark.parametrize("object_type", ObjectType)
def test_what_is_left_does_not_depend_on_resolution(method: Options, object_type: ObjectType) -> None:
    small, large = (
        np.mean([random_pattern(size, object_type, seed).remaining_similarity(method, seed=seed) for seed in range(6)])
        for size in (64, 512)
    )
    assert abs(small - large) < 0.05
    assert large < 0.2


def test_a_blur_of_one_radius_would_leave_more_of_a_large_object() -> None:
    """The measure sees what it is there to see."""
    import cv2

    def left(size: int) -> float:
        cutout = random_pattern(size, FACE, 0)
        return similarity(cutout.inside(cutout.pixels), cutout.inside(cv2.GaussianBlur(cutout.pixels, (0, 0), 6)))

    assert left(512) > 0.8 > 0.5 > left(48)


def test_a_cutout_keeps_the_object_where_it_is() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[40:60, 150:190] = 255
    cutout = Cutout.of(picture, np.array([150, 40, 190, 60], np.float32), PLATE)
    assert cutout.short_side == 20
    # half of the shorter side around it; the picture ends on the right
    assert cutout.pixels.shape == (41, 60, 3)
    assert (cutout.inside(cutout.pixels) == 255).all()
    half = cutout.scaled(10)
    assert half.short_side == pytest.approx(10)
    assert (half.inside(half.pixels) == 255).mean() > 0.9


def test_only_what_lies_around_a_cutout_stays_as_it_was() -> None:
    cutout = random_pattern(64, FACE, 1)
    after = cutout.redacted(BLACKEN)
    assert (cutout.inside(after)[16:48, 16:48] == 0).all()
    assert np.array_equal(after[0], cutout.pixels[0])


def test_whoever_has_the_originals_finds_them_again_unless_they_are_black() -> None:
    # halves of different shades: three cells show which is which
    rng = np.random.default_rng(3)
    cutouts = []
    for _ in range(12):
        picture = np.full((96, 96, 3), 128, np.uint8)
        picture[16:80, 16:48], picture[16:80, 48:80] = rng.integers(0, 256, (2, 3), np.uint8)
        cutouts.append(Cutout.of(picture, np.array([16, 16, 80, 80], np.float32), FACE))
    assert linkage_rate(cutouts, BLUR) > 0.8
    assert linkage_rate(cutouts, BLACKEN) == 0
