"""HEIC and AVIF in and out, of one picture each.

The decoders give the main picture alone; thumbnails, depth and gain maps, other auxiliary pictures, XMP and trailing
data do not come along. EXIF (scrubbed), ICC or the coded colour description (nclx), bit depth and chroma subsampling
do. HEIC turns its pictures upright by its own boxes, and its output lies upright. Neither format says at which quality
it was made: 90 where none is asked for. With alpha the quality is the highest, as only that keeps the alpha.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.decoded import DecodedImage, Encoding, check_size, clean_icc, translated
from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.limits import Limits

__all__ = ["check_avif", "check_heic", "read_avif", "read_heic", "write_avif", "write_heic"]

_DEFAULT_QUALITY = 90
_HEIC_LOSSLESS, _AVIF_LOSSLESS = -1, 100
#: Boxes that hold further boxes on the way to the properties, and the bytes of their own before those.
_PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_ALTERNATIVES = "altr"
#: Primaries and transfer functions that an AVIF without ICC is written with (BT.709, sRGB), or that say nothing.
_PLAIN_PRIMARIES, _PLAIN_TRANSFERS = {1, 2}, {1, 2, 6, 13, 14, 15}


@dataclass(frozen=True, slots=True)
class _HeicDetails:
    mode: str
    bit_depth: int
    chroma: int
    nclx: dict[str, Any] | None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start and end of the content) of each box, with those within the parents of properties."""
    at = start
    while at + 8 <= end:
        size, content = int.from_bytes(data[at : at + 4], "big"), at + 8
        name = data[at + 4 : at + 8]
        if size == 1:
            size, content = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < content - at or at + size > end:
            raise BrokenMedia("The picture is broken: the file ends before the picture does.")
        yield name, content, at + size
        if name in _PARENTS:
            yield from _boxes(data, content + _PARENTS[name], at + size)
        at += size


def _check_boxes(data: bytes, name: str, limits: Limits) -> dict[bytes, list[bytes]]:
    """The properties by name; sizes are judged on the way."""
    found: dict[bytes, list[bytes]] = {}
    for box, start, end in _boxes(data, 0, len(data)):
        found.setdefault(box, []).append(data[start : min(end, start + 64)])
    if b"moov" in found:
        raise UnsupportedMedia(f"Animated {name} pictures are not supported: send a still picture or a video.")
    if b"meta" not in found:
        raise BrokenMedia(f"The {name} picture is broken: there is no picture in it.")
    for size in found.get(b"ispe", []):
        width, height = struct.unpack_from(">LL", size, 4)
        check_size(width, height, limits)
    return found


def check_heic(data: bytes, limits: Limits) -> None:
    """Judge the boxes, as `read_heic` does before it decodes."""
    with translated("HEIC"):
        _check_boxes(data, "HEIC", limits)


def check_avif(data: bytes, limits: Limits) -> None:
    """Judge the boxes, as `read_avif` does before it decodes."""
    with translated("AVIF"):
        _check_boxes(data, "AVIF", limits)


def read_heic(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only picture of a HEIC file.

    Raises:
        BrokenMedia: it ends early or cannot be decoded.
        TooLarge: a header claims more pixels than the limit.
        UnsupportedMedia: there are several pictures in it.
    """
    with translated("HEIC"):
        _check_boxes(data, "HEIC", limits)
        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
        _refuse_others(file)
        picture = file[file.primary_index]
        check_size(*picture.size, limits)
        pixels = np.array(picture)
        info: dict[str, Any] = picture.info
        exif = read_exif(info["exif"]) if info["exif"] else Exif()
        has_alpha = picture.has_alpha
        colour = pixels[..., :-1] if has_alpha else pixels
        samples = np.ascontiguousarray(colour[..., 0] if colour.ndim == 3 and colour.shape[2] == 1 else colour)
        return DecodedImage(
            samples=samples,
            alpha=np.ascontiguousarray(pixels[..., -1]) if has_alpha else None,
            exif=exif.without_orientation().for_picture((samples.shape[1], samples.shape[0])),
            icc=clean_icc(info.get("icc_profile")),
            details=_HeicDetails(
                str(picture.mode), info["bit_depth"], info.get("chroma", 420), info.get("nclx_profile")
            ),
        )


def _refuse_others(file: pillow_heif.HeifFile) -> None:
    """Alternatives to the main picture are no pages: a phone's HDR rendition is one."""
    own = file.primary_index
    groups = (g["images"] for g in file.info.get("entity_groups", []) if g["type"] == _ALTERNATIVES)
    alternatives = {index for images in groups if own in images for index in images}
    if set(range(len(file))) - alternatives - {own}:
        raise UnsupportedMedia(f"HEIC files with several pictures are not supported: this one has {len(file)}.")


def write_heic(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the bits, the chroma subsampling and the colour description of the source."""
    details: _HeicDetails = decoded.details
    pixels = decoded.samples if decoded.alpha is None else np.dstack([decoded.samples, decoded.alpha])
    quality = encoding.quality or _DEFAULT_QUALITY
    options: dict[str, Any] = {
        "quality": quality if decoded.alpha is None else _HEIC_LOSSLESS,
        "bit_depth": details.bit_depth,
        "exif": decoded.exif.to_bytes() or None,
    }
    if details.chroma in (420, 422, 444):
        options["chroma"] = details.chroma
    if decoded.icc is not None:
        options["icc_profile"] = decoded.icc
    if details.nclx is not None:
        options["nclx_profile"] = details.nclx
        names = ("color_primaries", "matrix_coefficients", "full_range_flag")
        options |= {name: details.nclx[name] for name in names}
        options["transfer_characteristic"] = details.nclx["transfer_characteristics"]
    out = io.BytesIO()
    pillow_heif.encode(details.mode, decoded.size_wh, pixels.tobytes(), out, **options)
    return out.getvalue()


def read_avif(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only picture of an AVIF file.

    Raises:
        BrokenMedia: it ends early or cannot be decoded.
        TooLarge: a header claims more pixels than the limit.
        UnsupportedMedia: it is animated, or has more than 8 bits or colours that could not be written as they were.
    """
    with translated("AVIF"):
        properties = _check_boxes(data, "AVIF", limits)
        configurations = properties.get(b"av1C", [])
        if not configurations:
            raise BrokenMedia("The AVIF picture is broken: there is no picture in it.")
        if any(configuration[2] & 0x40 for configuration in configurations):
            raise UnsupportedMedia("AVIF pictures with 10 or 12 bits per channel are not supported; 8 bits are.")
        _refuse_wide_colours(properties.get(b"colr", []))
        image = AvifImageFile(io.BytesIO(data))
        if image.n_frames > 1:
            raise UnsupportedMedia("Animated AVIF pictures are not supported: send a still picture or a video.")
        check_size(*image.size, limits)
        image.load()
        pixels = np.asarray(image)
        exif = read_exif(image.info["exif"]) if "exif" in image.info else Exif()
        subsampling = _subsampling(configurations[0][2])
        colour = pixels[..., 0] if subsampling == "4:0:0" else pixels[..., :3]
        return DecodedImage(
            samples=np.ascontiguousarray(colour),
            alpha=np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None,
            orientation=exif.orientation,
            exif=exif.for_picture(image.size),
            icc=clean_icc(image.info.get("icc_profile")),
            details=subsampling,
        )


def _refuse_wide_colours(descriptions: list[bytes]) -> None:
    if any(each.startswith((b"prof", b"rICC")) for each in descriptions):
        return
    for each in descriptions:
        primaries, transfer = struct.unpack_from(">HH", each, 4)
        if primaries not in _PLAIN_PRIMARIES or transfer not in _PLAIN_TRANSFERS:
            raise UnsupportedMedia(
                "AVIF pictures with HDR or wide-gamut colours and no ICC profile are not supported, "
                "as their colours could not be written as they were."
            )


def _subsampling(configuration: int) -> str:
    """From the byte of the AV1 configuration that has monochrome, subsampling across and subsampling down."""
    if configuration & 0x10:
        return "4:0:0"
    return {0x0C: "4:2:0", 0x08: "4:2:2"}.get(configuration & 0x0C, "4:4:4")


def write_avif(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the chroma subsampling of the source."""
    colour = decoded.samples if decoded.samples.ndim == 3 else np.dstack([decoded.samples] * 3)
    quality = encoding.quality or _DEFAULT_QUALITY
    options: dict[str, Any] = {"quality": quality, "subsampling": decoded.details, "exif": decoded.exif.to_bytes()}
    if decoded.alpha is not None:
        colour = np.dstack([colour, decoded.alpha])
        options["quality"] = _AVIF_LOSSLESS
    out = io.BytesIO()
    Image.fromarray(colour).save(out, "AVIF", icc_profile=decoded.icc, **options)
    return out.getvalue()
