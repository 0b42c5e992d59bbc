"""Which finds in a delivered picture are new, and how much detail a region keeps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from anonymizer.pipeline.detections import Detections, ObjectType
from anonymizer.pipeline.options.options import Method, Options
from anonymizer.pipeline.proof.differences import compare_region
from anonymizer.pipeline.proof.finds import bare_shares, new_finds
from anonymizer.pipeline.redaction.effects import redact
from anonymizer.pipeline.redaction.regions import redaction_regions

FACE, PLATE, PERSON, _ = ObjectType
SIZE = (200, 300)


def objects(*rows: tuple[ObjectType, tuple[float, float, float, float]]) -> Detections:
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, [0.3] * len(rows), [kind.number for kind, _ in rows], ["fake"] * len(rows))


def covered(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def test_a_find_is_new_where_more_than_half_of_its_shape_is_bare() -> None:
    finds = objects((PLATE, (100, 100, 140, 120)), (PLATE, (100, 100, 140, 120)))
    for width, is_new in ((40, False), (21, False), (19, True), (0, True)):
        redacted = covered((100, 90, 100 + width, 130))
        assert new_finds(finds, redacted, Detections.empty(), Options()).tolist() == [is_new] * 2
    assert bare_shares(finds, covered((100, 90, 110, 130)), Options()) == pytest.approx([0.75, 0.75])


def test_the_corners_of_a_face_do_not_count() -> None:
    redacted = covered((100, 100, 140, 117))
    find = objects((FACE, (100, 100, 140, 150)))
    assert bare_shares(find, redacted, Options()) > bare_shares(find, redacted, Options(bbox=True))


def test_a_redacted_object_that_is_found_again_is_not_new_though_its_outline_leaves_out_much() -> None:
    person = (20.0, 20.0, 100.0, 180.0)
    # its outline covers a third of its box
    redacted = covered((47, 20, 73, 180))
    again = objects((PERSON, (22, 24, 104, 178)))
    assert not new_finds(again, redacted, objects((PERSON, person)), Options()).any()
    assert new_finds(again, redacted, objects((FACE, person)), Options()).all()
    assert new_finds(again, redacted, Detections.empty(), Options()).all()


def test_a_second_object_behind_a_redacted_one_is_new() -> None:
    # the boxes overlap by more than half, but the second one is bare by far more than the first
    redacted = covered((20, 20, 100, 95))
    behind = objects((PERSON, (20, 20, 100, 180)))
    assert new_finds(behind, redacted, objects((PERSON, (20, 20, 100, 102))), Options()).all()


def test_a_find_outside_of_the_image_or_in_ignores_is_nothing() -> None:
    ignores, _ = Options.from_params({"ignores": '[{"topLeftX":0,"topLeftY":0,"width":300,"height":200}]'})
    assert not new_finds(objects((FACE, (10, 10, 50, 50))), covered(), Detections.empty(), ignores).any()
    assert not new_finds(objects((FACE, (400, 10, 450, 50))), covered(), Detections.empty(), Options()).any()


def scene(texture: int) -> np.ndarray:
    """A picture whose finest detail is so many pixels large."""
    random = np.random.default_rng(3)
    shape = SIZE[0] // texture + 1, SIZE[1] // texture + 1
    # as in photos, brightness varies more than colour does
    small = (random.integers(50, 180, (*shape, 1)) + random.integers(0, 26, (*shape, 3))).astype(np.uint8)
    image = Image.fromarray(small).resize((shape[1] * texture, shape[0] * texture), Image.Resampling.BICUBIC)
    return np.asarray(image)[: SIZE[0], : SIZE[1]]


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as opened:
        return np.asarray(opened)


@pytest.mark.parametrize("side", [12, 24, 60, 150])
@pytest.mark.parametrize("method", [Method.BLUR, Method.PIXELATE, Method.BLACKEN])
def test_redacted_regions_keep_little_and_bare_ones_much(side: int, method: Method) -> None:
    pixels = scene(max(side // 12, 2))
    box = (60.0, 20.0, 60.0 + side, 20.0 + 1.1 * side)
    options = Options(method=method)
    (region,) = redaction_regions(objects((FACE, box)), SIZE, options)
    redacted = redact(pixels, [region], options, seed=1)
    for quality in (95, 60):
        shares = [
            compare_region(
                pixels[region.crop].astype(np.float32),
                as_jpeg(shown, quality)[region.crop].astype(np.float32),
                region.alpha > 0,
                region.short_side,
            ).left
            for shown in (redacted, pixels)
        ]
        assert None not in shares
        assert shares[0] < 0.35 < 0.5 < shares[1], (shares, quality)  # type: ignore[operator]


def test_colour_alone_is_detail_too_and_a_smooth_slope_is_not() -> None:
    inside = np.ones((40, 40), bool)
    chroma = np.full((40, 40, 3), 128, np.float32)
    chroma[::2, :, 0] += 30
    chroma[1::2, :, 2] += 30
    assert compare_region(chroma, chroma, inside, 40).left == pytest.approx(1)
    slope = np.tile(np.linspace(0, 255, 40, dtype=np.float32)[:, None], (1, 40))[..., None]
    assert compare_region(slope, slope[::-1], inside, 40).is_flat
