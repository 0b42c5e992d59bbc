"""Arrays and PIL images: what is accepted, and how they are written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from anonymizer.pipeline.errors import BrokenMedia, InvalidParameter, TooLarge
from anonymizer.pipeline.images.in_memory import encode_as, picture_of_array, picture_of_pil
from anonymizer.pipeline.images.io import encode_picture, load_picture
from anonymizer.pipeline.limits import Limits
from tests.pictures import drawn, encoded

RGB = np.asarray(drawn(33, 21))
GREY = np.asarray(drawn(33, 21).convert("L"))
RGBA = np.dstack([RGB, GREY])
DEEP = RGB.astype(np.uint16) * 257 + 3


def same(array: NDArray[np.generic], form: str) -> NDArray[np.generic]:
    """The array, written and read again."""
    content = encode_as(picture_of_array(array), picture_of_array(array).pixels, form)
    picture = load_picture(content)
    alpha = picture._decoded.alpha
    return picture.pixels if alpha is None else np.dstack([picture.pixels, alpha])


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (RGB, "png"), (GREY, "png"), (RGBA, "png"), (DEEP, "png"), (DEEP[..., 0], "png"),
        (np.dstack([DEEP, DEEP[..., 0]]), "png"),
        (RGB, "bmp"), (RGB, "tiff"), (GREY, "tiff"), (RGBA, "tiff"),
    ],
)  # fmt: skip
def test_lossless_formats_keep_every_value(array: NDArray[np.generic], form: str) -> None:
    assert np.array_equal(same(array, form), array)


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (RGB, "jpeg"), (GREY, "jpeg"), (RGB, "webp"), (GREY, "webp"), (RGBA, "webp"), (GREY, "bmp"),
        (RGB, "heic"), (GREY, "heic"), (RGBA, "heic"), (RGB, "avif"), (GREY, "avif"), (RGBA, "avif"),
    ],
)  # fmt: skip
def test_other_formats_keep_the_picture(array: NDArray[np.uint8], form: str) -> None:
    written = same(array, form)
    expected = array if written.ndim == array.ndim else np.dstack([array] * 3)
    assert written.shape == expected.shape
    assert np.abs(written[..., :3].astype(int) - expected[..., :3]).mean() < 8


@pytest.mark.parametrize("form", ["jpeg", "bmp"])
def test_alpha_is_never_dropped(form: str) -> None:
    with pytest.raises(InvalidParameter, match=f"format is '{form}', but must be one of png, webp, tiff, heic, avif"):
        same(RGBA, form)


def test_sixteen_bits_are_never_cut() -> None:
    with pytest.raises(InvalidParameter, match="must be png for an image of 16 bits"):
        same(DEEP, "jpeg")
    with pytest.raises(InvalidParameter, match="must be one of jpeg, png"):
        same(RGB, "gif")


def test_quality_is_heard() -> None:
    picture = picture_of_array(np.asarray(drawn()))
    sizes = [len(encode_as(picture, picture.pixels, "jpeg", quality=quality)) for quality in (20, 95)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.zeros((4, 5, 2), np.uint8), r"\(4, 5, 2\) and dtype uint8"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"\(1, 4, 5, 3\)"),
        (np.zeros(7, np.uint8), r"\(7,\)"),
        (np.zeros((4, 5, 3)), "dtype float64"),
        (np.zeros((4, 5), bool), "dtype bool"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
    ],
)
def test_other_arrays_are_refused_with_what_is_allowed(array: NDArray[np.generic], shown: str) -> None:
    with pytest.raises(InvalidParameter, match=rf"^frame is .*{shown}.*must be \(h, w\) grey, \(h, w, 3\) RGB"):
        picture_of_array(array, parameter="frame")


def test_limits_hold_for_arrays_too() -> None:
    with pytest.raises(TooLarge):
        picture_of_array(RGB, limits=Limits(megapixels=0.0001))
    with pytest.raises(TooLarge):
        picture_of_pil(drawn(33, 21), limits=Limits(megapixels=0.0001))


def test_later_changes_of_the_array_change_nothing() -> None:
    array = RGB.copy()
    picture = picture_of_array(array)
    array[:] = 0
    assert np.array_equal(picture.pixels, RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16"])
def test_pil_images_of_every_mode_are_read(mode: str) -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else drawn(33, 21).convert(mode)
    picture = picture_of_pil(image)
    expected = GREY if mode == "I;16" else np.asarray(image.convert("RGB"))
    assert np.array_equal(picture.rgb()[..., 0], expected if expected.ndim == 2 else expected[..., 0])
    assert (picture._decoded.alpha is not None) == (mode in ("LA", "RGBA"))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pil_images_without_a_known_range_are_refused(mode: str) -> None:
    with pytest.raises(InvalidParameter, match=f"mode {mode}'"):
        picture_of_pil(drawn(33, 21).convert("L").convert(mode))


def test_a_transparent_colour_becomes_alpha() -> None:
    image = Image.fromarray(GREY)
    image.info["transparency"] = int(GREY[0, 0])
    alpha = picture_of_pil(image)._decoded.alpha
    assert alpha is not None
    corner = int(GREY[0, 0])
    assert np.array_equal(alpha == 0, np.equal(GREY, corner))


def test_a_pil_image_is_laid_upright_and_keeps_its_profile() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(io.BytesIO(encoded(drawn(33, 21), "PNG", exif=exif, icc_profile=profile))) as image:
        picture = picture_of_pil(image)
    assert picture.size_hw == (33, 21)
    assert np.array_equal(picture.pixels, np.rot90(RGB, -1))
    with Image.open(io.BytesIO(encode_as(picture, picture.pixels, "jpeg"))) as written:
        assert written.info["icc_profile"] == profile
        assert not written.getexif()


def test_a_pil_image_of_a_file_that_ends_early_is_broken() -> None:
    content = encoded(drawn())
    with (
        Image.open(io.BytesIO(content[: len(content) // 2])) as image,
        pytest.raises(BrokenMedia, match="picture is broken"),
    ):
        picture_of_pil(image)


def test_a_picture_in_memory_is_no_file() -> None:
    picture = picture_of_array(RGB, name="frame")
    assert picture.in_memory
    assert repr(picture) == "Picture(frame, 33 x 21, uint8, in memory)"
    assert not load_picture(encoded()).in_memory
    with pytest.raises(ValueError, match="pixels must be"):
        encode_picture(picture, picture.pixels[:5])
