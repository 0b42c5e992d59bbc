"""Images that come from no file: NumPy arrays and PIL images, and how they are written to a file."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, cast

import cv2
import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from anonymizer.pipeline.errors import InvalidParameter, UnsupportedMedia
from anonymizer.pipeline.images.decoded import DecodedImage, Samples, check_size, translate_errors
from anonymizer.pipeline.images.io import Picture, encode_picture, load_picture
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import IMAGE_FORMATS

__all__ = ["encode_as", "picture_of_array", "picture_of_pil"]

_ALLOWED = "(h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA, uint8 or uint16, with at least one pixel"
#: PIL modes that are taken as they are, or converted to another one; `I` and `F` have no known range
_PIL_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"} | dict.fromkeys(
    ("P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"), "RGB"
)
#: PIL's names of compressions of TIFF in which libtiff only warns of missing or damaged rows.
_SILENT = ("tiff_ccitt", "group3", "group4", "jpeg", "tiff_jpeg")


@dataclass(frozen=True, slots=True)
class _Ability:
    """What a format can store besides RGB of 8 bits, and how a new file of it is encoded."""

    grey: bool = False
    alpha: bool = False
    deep: bool = False
    options: tuple[tuple[str, Any], ...] = ()


_ABILITIES = {
    "jpeg": _Ability(grey=True, options=(("quality", 95),)),
    "png": _Ability(grey=True, alpha=True, deep=True),
    "webp": _Ability(alpha=True, options=(("quality", 95),)),
    "tiff": _Ability(grey=True, alpha=True, options=(("compression", "tiff_lzw"),)),
    "bmp": _Ability(),
    "heic": _Ability(alpha=True),
    "avif": _Ability(alpha=True),
}


def picture_of_array(
    array: NDArray[Any],
    *,
    limits: Limits = Limits(),  # noqa: B008
    name: str | None = None,
    parameter: str = "source",
) -> Picture:
    """Make a picture of an array; the pixels are copied.

    Args:
        array: (h, w) grey, (h, w, 3) RGB or (h, w, 4) RGBA; uint8 or uint16.
        limits: the most pixels that are accepted.
        name: what to call it.
        parameter: what the caller calls the array, for the error.

    Raises:
        InvalidParameter: the array has another shape or dtype, or no pixel.
        TooLarge: it has more pixels than the limit.
    """
    channels = array.shape[2:]
    if array.ndim not in (2, 3) or channels not in ((), (3,), (4,)) or array.dtype not in (np.uint8, np.uint16):
        raise InvalidParameter(parameter, f"an array of shape {array.shape} and dtype {array.dtype}", _ALLOWED)
    if not array.size:
        raise InvalidParameter(parameter, f"an array of shape {array.shape}", _ALLOWED)
    check_size(array.shape[1], array.shape[0], limits)
    if channels == (4,):
        return _picture(array[..., :3], array[..., 3], name)
    return _picture(array, None, name)


def picture_of_pil(
    image: Image.Image,
    *,
    limits: Limits = Limits(),  # noqa: B008
    name: str | None = None,
    parameter: str = "source",
) -> Picture:
    """Make a picture of a PIL image, laid upright by its orientation tag; the ICC profile is kept, other tags are not.

    Args:
        image: grey, RGB and palette images, with or without alpha; CMYK and the like become RGB.
        limits: the most pixels that are accepted.
        name: what to call it.
        parameter: what the caller calls the image, for the error.

    Raises:
        InvalidParameter: the image has a mode without a known range, such as `F`, or no pixel.
        TooLarge: it has more pixels than the limit.
        BrokenMedia: its file cannot be read, or does not hold every row.
        UnsupportedMedia: it is not loaded yet, and its file is a TIFF of several pages in CCITT or JPEG.
    """
    deep = image.mode.startswith("I;16")
    if not deep and image.mode not in _PIL_MODES:
        raise InvalidParameter(
            parameter, f"a PIL image of mode {image.mode}", f"of one of {', '.join(_PIL_MODES)}, I;16"
        )
    if not image.width or not image.height:
        raise InvalidParameter(parameter, f"a PIL image of size {image.size}", "an image with at least one pixel")
    check_size(image.width, image.height, limits)
    with translate_errors("PIL"):
        _check_unread_file(image, limits)
        icc = (
            scrub_icc_profile(image.info.get("icc_profile")) if image.mode in ("L", "LA", "P", "RGB", "RGBA") else None
        )
        upright = ImageOps.exif_transpose(image)
        if deep:
            return _picture(np.asarray(upright).astype(np.uint16), None, name, icc)
        pixels = np.asarray(upright.convert("RGBA" if _hides(upright) else _PIL_MODES[upright.mode]))
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels in (2, 4):
        return _picture(pixels[..., 0] if channels == 2 else pixels[..., :3], pixels[..., -1], name, icc)
    return _picture(pixels, None, name, icc)


def _check_unread_file(image: Image.Image, limits: Limits) -> None:
    """Refuse an image that PIL has yet to decode, from a file that does not hold all of its rows."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return
    place = image.fp.tell()
    image.fp.seek(0)
    data = image.fp.read()
    image.fp.seek(place)
    try:
        load_picture(data, limits=replace(limits, bytes=max(limits.bytes, len(data))))
    except UnsupportedMedia:
        # PIL reads more kinds of files. In these compressions, libtiff may leave rows unfilled and not say so.
        if image.format == "TIFF" and image.info.get("compression") in _SILENT:
            raise


def _hides(image: Image.Image) -> bool:
    """Whether pixels are transparent by a colour or a palette; modes with alpha of their own keep it anyway."""
    return image.mode not in ("LA", "La") and image.has_transparency_data


def _picture(colour: NDArray[Any], alpha: NDArray[Any] | None, name: str | None, icc: bytes | None = None) -> Picture:
    pixels = np.array(colour, order="C")
    pixels.flags.writeable = False
    decoded = DecodedImage(pixels[:0], alpha=None if alpha is None else np.array(alpha, order="C"), icc=icc)
    return Picture(IMAGE_FORMATS["png"], pixels, name, in_memory=True, _decoded=decoded)


def encode_as(
    picture: Picture,
    pixels: Samples,
    form: str,
    *,
    alpha: Samples | None = None,
    quality: int | None = None,
    compress_level: int = 5,
) -> bytes:
    """Write a picture that was made in memory as a new file.

    Args:
        picture: its ICC profile is written too.
        pixels: of the shape and dtype of `picture.pixels`.
        form: a key of `IMAGE_FORMATS`: "png".
        alpha: of the shape and dtype of `picture.alpha`; default: that of the picture.
        quality: 1..100, for JPEG, WebP, HEIC and AVIF; default: 95, or the default of the encoder.
        compress_level: PNG, 0..9.

    Raises:
        InvalidParameter: the format does not exist, or cannot store 16 bits or alpha.
    """
    if form not in _ABILITIES:
        raise InvalidParameter("format", form, f"one of {', '.join(_ABILITIES)}")
    ability, alpha = _ABILITIES[form], picture._decoded.alpha if alpha is None else alpha
    if alpha is not None and not ability.alpha:
        raise InvalidParameter("format", form, f"one of {_able('alpha')} for an image with an alpha channel")
    if pixels.dtype == np.uint16 and not ability.deep:
        raise InvalidParameter("format", form, f"{_able('deep')} for an image of 16 bits")
    icc = picture._decoded.icc
    if pixels.ndim == 2 and not ability.grey:
        # a profile of grey does not describe RGB
        pixels, icc = cast("Samples", np.dstack([pixels] * 3)), None
    template = load_picture(_template(form, pixels, with_alpha=alpha is not None))
    decoded = replace(template._decoded, samples=pixels[:0], alpha=alpha, icc=icc)
    return encode_picture(
        replace(template, pixels=pixels, _decoded=decoded), pixels, quality=quality, compress_level=compress_level
    )


def _able(what: str) -> str:
    return ", ".join(form for form, ability in _ABILITIES.items() if getattr(ability, what))


def _template(form: str, pixels: Samples, *, with_alpha: bool) -> bytes:
    """A blank file of a format, from which the format's own writer learns how to encode."""
    # the header of a BMP file has the size of the picture
    side_hw = pixels.shape[:2] if form == "bmp" else (16, 16)
    channels = (1 if pixels.ndim == 2 else 3) + with_alpha
    if pixels.dtype == np.uint16:
        _, content = cv2.imencode(".png", np.zeros((*side_hw, channels), np.uint16))
        return content.tobytes()
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    blank = Image.new(mode, side_hw[::-1])
    out = io.BytesIO()
    if form == "heic":
        pillow_heif.encode(mode, blank.size, blank.tobytes(), out)
    else:
        blank.save(out, form.upper(), **dict(_ABILITIES[form].options))
    return out.getvalue()
