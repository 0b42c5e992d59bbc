"""In which ways an image with transparency is shown to the detectors."""

from __future__ import annotations

import io
import struct

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from anonymizer.pipeline.detection.composites import BACKGROUNDS, further_looks
from anonymizer.pipeline.images.in_memory import picture_of_array
from anonymizer.pipeline.images.io import load_picture

RNG = np.random.default_rng(0)
RGBA = RNG.integers(0, 256, (31, 40, 4), np.uint8)


def composite(rgba: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """As Pillow lays it over a background."""
    behind = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (level, level, level, 255))
    behind.alpha_composite(Image.fromarray(rgba))
    return np.asarray(behind.convert("RGB"))


def tiff(rgba: NDArray[np.uint8], extra: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "TIFF")
    data = bytearray(out.getvalue())
    struct.pack_into("<H", data, data.index(struct.pack("<HHL", 0x0152, 3, 1)) + 8, extra)
    return bytes(data)


@pytest.mark.parametrize("deep", [False, True])
def test_a_picture_is_laid_over_each_background_and_its_alpha_is_shown(deep: bool) -> None:
    looks = list(further_looks(picture_of_array(RGBA.astype(np.uint16) * 257 if deep else RGBA)))
    assert len(looks) == len(BACKGROUNDS) + 2
    for look, level in zip(looks, BACKGROUNDS, strict=False):
        assert np.abs(look.astype(int) - composite(RGBA, level)).max() <= 1
    alpha = RGBA[..., 3]
    assert alpha.min() == 0 and alpha.max() == 255
    assert np.array_equal(looks[-2], np.dstack([alpha] * 3))
    assert np.array_equal(looks[-1], 255 - looks[-2])


def test_colours_that_are_multiplied_by_alpha_are_laid_over_as_they_are() -> None:
    straight = RGBA.copy()
    straight[..., 3] = np.maximum(straight[..., 3], 128)
    multiplied = straight.copy()
    multiplied[..., :3] = np.rint(straight[..., :3] * (straight[..., 3:] / 255)).astype(np.uint8)

    plain, *looks = further_looks(load_picture(tiff(multiplied, 1)))

    assert np.abs(plain.astype(int) - straight[..., :3]).max() <= 3
    # over black, the picture looks like its stored colours, which the first look has shown
    for look, level in zip(looks, BACKGROUNDS[1:], strict=False):
        assert np.abs(look.astype(int) - composite(straight, level)).max() <= 2
    assert len(looks) == len(BACKGROUNDS) - 1 + 2


@pytest.mark.parametrize("level", [0, 128])
def test_faint_alpha_is_shown_with_full_contrast(level: int) -> None:
    rgba = np.full((31, 40, 4), level, np.uint8)
    rgba[..., 3] = 100 + RNG.integers(0, 4, (31, 40))
    looks = list(further_looks(picture_of_array(rgba)))
    assert [int(np.ptp(look)) for look in looks[-2:]] == [255, 255]


def test_looks_without_contrast_and_looks_that_were_there_are_left_out() -> None:
    rgba = RGBA.copy()
    rgba[..., 3] = 0
    assert list(further_looks(picture_of_array(rgba))) == []
    rgba[..., 3] = 128
    assert len(list(further_looks(picture_of_array(rgba)))) == len(BACKGROUNDS)
    rgba[..., :3] = 255
    rgba[..., 3] = RGBA[..., 3]
    # white over black is the alpha plane, white over white is nothing
    assert len(list(further_looks(picture_of_array(rgba)))) == 3


@pytest.mark.parametrize("bits", [10, 12])
def test_opaque_heic_of_many_bits_has_no_further_look(bits: int) -> None:
    pixels = RNG.integers(0, 65536, (32, 40, 4)).astype(np.uint16)
    pixels[..., 3] = 65535
    out = io.BytesIO()
    pillow_heif.encode("RGBA;16", (40, 32), pixels.tobytes(), out, quality=90, bit_depth=bits)
    assert load_picture(out.getvalue()).alpha is None


def test_a_picture_in_the_lowest_bits_of_alpha_is_looked_at() -> None:
    rgba = RGBA.astype(np.uint16) * 257
    rgba[..., 3] = 65535 - RGBA[..., 3].astype(np.uint16) // 4
    assert list(further_looks(picture_of_array(rgba)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_opaque_picture_has_no_further_look(dtype: type) -> None:
    rgba = RGBA.astype(dtype) * (257 if dtype is np.uint16 else 1)
    rgba[..., 3] = np.iinfo(dtype).max
    for pixels in (rgba, rgba[..., :3], rgba[..., 0]):
        picture = picture_of_array(np.ascontiguousarray(pixels))
        assert picture.alpha is None
        assert list(further_looks(picture)) == []
