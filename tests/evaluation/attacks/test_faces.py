"""Faces found again by averages of redacted pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anonymizer.evaluation.attacks.faces import face_linkage
from anonymizer.evaluation.attacks.redactions import with_cells, with_options
from anonymizer.evaluation.metrics.redaction_strength import Cutout
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options

FACE = ObjectType.FACE
NUMBER = 24


def drawn_faces() -> list[Cutout]:
    """One drawing for all, with eyes, nose and mouth in places and shades that differ a little."""
    faces = []
    for seed in range(NUMBER):
        rng = np.random.default_rng(seed)
        skin = np.array([190, 150, 130]) + rng.normal(0, 3)
        picture = np.full((96, 96, 3), 110, np.uint8)
        cv2.ellipse(picture, (48, 48), (23, 31), 0, 0, 360, skin.tolist(), -1)
        for x in (39, 57):
            eye = (int(x + rng.integers(-2, 3)), int(40 + rng.integers(-2, 3)))
            cv2.circle(picture, eye, int(rng.integers(3, 5)), (skin - 90).tolist(), -1)
        mouth = (48, int(64 + rng.integers(-3, 4)))
        cv2.ellipse(picture, mouth, (int(rng.integers(6, 12)), 3), 0, 0, 360, (skin - [30, 80, 70]).tolist(), -1)
        cv2.line(picture, (48, 44), (48, int(54 + rng.integers(-2, 3))), (skin - 30).tolist(), 2)
        faces.append(Cutout.of(picture, np.array([24, 16, 72, 80], np.float32), FACE))
    return faces


def linked(
    redaction_cells: float | None, options: Options, pictures: int, *, noise: float = 0.06
) -> tuple[float, float]:
    """Mean rank, and the share of first ranks."""
    redaction = with_options(options, FACE) if redaction_cells is None else with_cells(
        redaction_cells, FACE, noise=noise
    )  # fmt: skip
    ranks = face_linkage(drawn_faces(), redaction, pictures=pictures)
    return float(ranks.mean()), float((ranks == 1).mean())


def test_black_faces_are_found_by_chance_only() -> None:
    mean, first = linked(None, Options(method=Method.BLACKEN), 8)
    # three standard errors of a mean of uniform ranks
    assert mean == pytest.approx((NUMBER + 1) / 2, abs=3 * NUMBER / np.sqrt(12 * NUMBER))
    assert first < 0.25


def test_more_cells_and_more_pictures_tell_more() -> None:
    """The control: the same attack succeeds on a weak setting."""
    one, many = (linked(12, Options(), pictures, noise=0.02) for pictures in (1, 16))
    assert many[1] > 0.7
    assert many[0] < one[0]


@pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE])
def test_one_picture_of_the_default_tells_less_than_fine_cells(method: Method) -> None:
    default, weak = linked(None, Options(method=method), 1), linked(12, Options(), 1, noise=0)
    assert default[0] > 2 * weak[0]


def test_averaging_undoes_noise_but_not_cells() -> None:
    one, many = (linked(8, Options(), pictures, noise=0.2)[0] for pictures in (1, 24))
    assert many < 0.7 * one
    assert linked(None, Options(), 24)[0] > 2 * many
