"""A soft edge cannot be undone: it mixes cells with cells, and never with the original."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from anonymizer.evaluation.attacks.edges import edge_recovery
from anonymizer.evaluation.attacks.redactions import in_frames
from anonymizer.evaluation.metrics.redaction_strength import detections_of_type
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.redaction.effects import blend, redact
from anonymizer.pipeline.redaction.regions import RedactionRegion, redaction_regions

FACE, PLATE = ObjectType.FACE, ObjectType.LICENSE_PLATE
BOX = np.array([70, 70, 170, 170], np.float32)
SIZE = (240, 240)
FINE_PX = 12
METHODS = (Method.BLUR, Method.PIXELATE)


def picture(seed: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (60, 60, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC), np.uint8)


def soft_options(method: Method) -> Options:
    return Options(
        method=method,
        margin=0.1,
        face_anonymization_gradient_start=0.3,
        license_plate_anonymization_gradient_start=0.3,
    )


def placed(options: Options, object_type: ObjectType) -> tuple[RedactionRegion, NDArray[np.uint8]]:
    (region,) = redaction_regions(detections_of_type(BOX[None], object_type), SIZE, options)
    alpha = np.zeros(SIZE, np.uint8)
    alpha[region.crop] = region.alpha
    assert ((alpha > 0) & (alpha < 230)).sum() > 2000
    return region, alpha


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("object_type", [FACE, PLATE])
@pytest.mark.parametrize("method", METHODS)
def test_of_the_edge_no_fine_structure_comes_back(method: Method, object_type: ObjectType, video: bool) -> None:
    options = soft_options(method)
    region, alpha = placed(options, object_type)
    for seed in range(3):
        before = picture(seed)
        after = (
            in_frames(options, object_type)(before, BOX, seed)
            if video
            else redact(before, [region], options, seed=seed)
        )
        correlation, error = edge_recovery(before, after, alpha, FINE_PX)
        assert abs(correlation) < 0.2
        assert error > 20


@pytest.mark.parametrize("method", METHODS)
def test_a_fade_to_the_original_would_give_it_back(method: Method) -> None:
    """The control: the same attack on an edge that mixes with the original."""
    options = soft_options(method)
    region, alpha = placed(options, FACE)
    hard = redact(picture(0), [region], options, seed=0)
    after = picture(0)
    blend(after, hard, alpha)
    correlation, error = edge_recovery(picture(0), after, alpha, FINE_PX)
    assert correlation > 0.8
    assert error < 10
