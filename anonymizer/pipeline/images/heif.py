"""Read and write HEIC and AVIF of one image each.

The decoders return only the primary image. Thumbnails, depth and gain maps, other auxiliary images, XMP and data after
the end are dropped. EXIF (scrubbed), the ICC profile or the coded colour description (nclx), bit depth and chroma
subsampling are kept. HEIC turns images upright by boxes of its own, so the output is stored upright. Neither format
tells its quality: the default for writing is 90. Images with alpha are written at the highest quality, as alpha only
stays the same then. A large HEIC is written in tiles, as phones write it. The container is ISOBMFF with the boxes of
ISO/IEC 23008-12 (HEIF).
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

from anonymizer.pipeline.errors import BrokenMedia, EncoderFailed, TooLarge, UnsupportedMedia
from anonymizer.pipeline.images.decoded import (
    DecodedImage,
    Encoding,
    check_size,
    translate_errors,
)
from anonymizer.pipeline.images.decoder_checks.unfilled import has_unfilled_blocks
from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.metadata.panorama import read_panorama, write_panorama
from anonymizer.pipeline.limits import Limits

__all__ = ["check_avif", "check_heic", "read_avif", "read_heic", "write_avif", "write_heic"]

_DEFAULT_QUALITY = 90
_HEIC_LOSSLESS, _AVIF_LOSSLESS = -1, 100
#: Of x265. libheif's own choice, "slow", takes seven times as long, for the same quality in a file 17 % smaller.
_PRESET = "ultrafast"
#: Side of a tile in pixels, and the most tiles: libheif reads no more than 1,000 items of a file.
_TILE_SIDE, _MOST_TILES = 1024, 900
#: The longest coded image that libde265 reads, in bytes. A tile has less. Images with alpha are written in one piece.
_MOST_CODED_BYTES = 2**24
#: The largest images that can be written, in megapixels: the largest HEVC level with decoders (6.2) for HEIC in one
#: piece; and for AVIF, whose encoder takes 23 MiB of memory for each megapixel.
_MOST_MEGAPIXELS = {"HEIC with alpha": 35.651584, "AVIF": 100.0}
#: Boxes that contain the boxes of properties, and how many bytes of their own come first.
_PARENTS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
_ALPHA_NAMES = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")
#: Entity group of images that are alternatives of one another.
_ALTERNATIVES = "altr"
#: Colour primaries and transfer functions of AVIF (ITU-T H.273) that are BT.709, sRGB or unspecified. Pillow writes
#: these if there is no ICC profile.
_PLAIN_PRIMARIES, _PLAIN_TRANSFERS = {1, 2}, {1, 2, 6, 13, 14, 15}


@dataclass(frozen=True, slots=True)
class _HeicDetails:
    """What the writer needs: Pillow's mode, bits per channel, chroma subsampling (420, 422 or 444), and nclx."""

    mode: str
    bit_depth: int
    chroma: int
    nclx: dict[str, Any] | None


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box, and of the boxes within `_PARENTS`."""
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
    """Start of the contents of all boxes by name, after their image sizes have been checked."""
    found: dict[bytes, list[bytes]] = {}
    for box, start, end in _boxes(data, 0, len(data)):
        found.setdefault(box, []).append(data[start : min(end, start + 64)])
    if b"moov" in found:
        raise UnsupportedMedia(f"Animated {name} pictures are not supported: send a still picture or a video.")
    if b"meta" not in found:
        raise BrokenMedia(f"The {name} picture is broken: there is no picture in it.")
    # the names of alpha in HEVC, and in all formats
    has_alpha = any(kind[4:].startswith(_ALPHA_NAMES) for kind in found.get(b"auxC", []))
    for size in found.get(b"ispe", []):
        width, height = struct.unpack_from(">LL", size, 4)
        check_size(width, height, limits)
        _check_writable(width, height, name, has_alpha=has_alpha)
    return found


def _check_writable(width: int, height: int, name: str, *, has_alpha: bool) -> None:
    """Refuse an image that could be read but not written, before the work.

    Args:
        width, height: in pixels.
        name: of the format.
        has_alpha: whether there is an alpha plane.

    Raises:
        TooLarge: the encoder cannot write so many pixels, or takes too much memory for them.
    """
    kind = f"{name} with alpha" if has_alpha and f"{name} with alpha" in _MOST_MEGAPIXELS else name
    most = _MOST_MEGAPIXELS.get(kind)
    if most is not None and width * height > most * 1e6:
        raise TooLarge(
            f"The picture has {width} x {height} pixels ({width * height / 1e6:.1f} megapixels). "
            f"As {kind}, pictures of up to {most:.1f} megapixels can be written."
        )


def check_heic(data: bytes, limits: Limits) -> None:
    """Check the boxes of a HEIC file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or there is no image in it.
        TooLarge: a header states more pixels than the limit, or than can be written.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("HEIC"):
        _check_boxes(data, "HEIC", limits)


def check_avif(data: bytes, limits: Limits) -> None:
    """Check the boxes of an AVIF file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or there is no image in it.
        TooLarge: a header states more pixels than the limit, or than can be written.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("AVIF"):
        _check_boxes(data, "AVIF", limits)


def read_heic(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only image of a HEIC file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image, upright: (h, w) grey or (h, w, 3) RGB, uint8 or uint16, with its alpha.

    Raises:
        BrokenMedia: the file ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: a header states more pixels than the limit, or than can be written.
        UnsupportedMedia: it is animated, or contains several images.
    """
    with translate_errors("HEIC"):
        _check_boxes(data, "HEIC", limits)
        file = pillow_heif.open_heif(data, convert_hdr_to_8bit=False)
        _refuse_several_images(file)
        picture = file[file.primary_index]
        check_size(*picture.size, limits)
        pixels = np.array(picture)
        info: dict[str, Any] = picture.info
        exif = read_exif(info["exif"]) if info["exif"] else Exif()
        has_alpha = picture.has_alpha
        colour = pixels[..., :-1] if has_alpha else pixels
        samples = np.ascontiguousarray(colour[..., 0] if colour.ndim == 3 and colour.shape[2] == 1 else colour)
        alpha = np.ascontiguousarray(pixels[..., -1]) if has_alpha else None
        if has_unfilled_blocks(data, samples, alpha):
            raise BrokenMedia("The HEIC picture is broken: its data end before the picture is complete.")
        return DecodedImage(
            samples=samples,
            alpha=alpha,
            premultiplied=bool(picture.premultiplied_alpha),
            exif=exif.without_orientation().with_size((samples.shape[1], samples.shape[0])),
            icc=scrub_icc_profile(info.get("icc_profile")),
            panorama=read_panorama(info.get("xmp")),
            details=_HeicDetails(
                str(picture.mode), info["bit_depth"], info.get("chroma", 420), info.get("nclx_profile")
            ),
        )


def _refuse_several_images(file: pillow_heif.HeifFile) -> None:
    """Refuse a file of several images. Alternatives of the primary image (a phone's HDR version) do not count."""
    own = file.primary_index
    groups = (group["images"] for group in file.info.get("entity_groups", []) if group["type"] == _ALTERNATIVES)
    alternatives = {index for images in groups if own in images for index in images}
    if set(range(len(file))) - alternatives - {own}:
        raise UnsupportedMedia(f"HEIC files with several pictures are not supported: this one has {len(file)}.")


def write_heic(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with bit depth, chroma subsampling and colour description of the source.

    Args:
        decoded: an image that `read_heic` returned; its `samples` may have other values.
        encoding: `quality` is used, 1..100; default: 90. Images with alpha are written at the highest quality instead.

    Returns:
        The file's bytes.

    Raises:
        EncoderFailed: it has alpha, and so many bytes without loss that other programs cannot read it.
        TooLarge: it has alpha, and more pixels than can be written.
    """
    details: _HeicDetails = decoded.details
    width, height = decoded.size_wh
    _check_writable(width, height, "HEIC", has_alpha=decoded.alpha is not None)
    pixels = decoded.samples if decoded.alpha is None else np.dstack([decoded.samples, decoded.alpha])
    quality = encoding.quality or _DEFAULT_QUALITY
    options: dict[str, Any] = {
        "quality": quality if decoded.alpha is None else _HEIC_LOSSLESS,
        "bit_depth": details.bit_depth,
        "enc_params": {"preset": _PRESET},
        "tile_size": _tile_side(width, height),
        "exif": decoded.exif.to_bytes() or None,
    }
    if details.chroma in (420, 422, 444):
        options["chroma"] = details.chroma
    if decoded.icc is not None:
        options["icc_profile"] = decoded.icc
    if packet := write_panorama(decoded.panorama):
        options["xmp"] = packet
    if details.nclx is not None:
        options["nclx_profile"] = details.nclx
        names = ("color_primaries", "matrix_coefficients", "full_range_flag")
        options |= {name: details.nclx[name] for name in names}
        options["transfer_characteristic"] = details.nclx["transfer_characteristics"]
    out = io.BytesIO()
    pillow_heif.encode(details.mode, decoded.size_wh, pixels.tobytes(), out, **options)
    if decoded.alpha is not None and out.tell() > _MOST_CODED_BYTES:
        raise EncoderFailed(
            f"The HEIC picture with alpha takes {out.tell() / 2**20:.1f} MiB without loss. "
            f"Other programs read up to {_MOST_CODED_BYTES // 2**20} MiB."
        )
    return out.getvalue()


def _tile_side(width: int, height: int) -> int:
    """Side of the tiles of an image in pixels. A smaller image is not divided."""
    side = _TILE_SIDE
    while -(-width // side) * -(-height // side) > _MOST_TILES:
        side *= 2
    return side


def read_avif(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only image of an AVIF file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image as stored: (h, w) grey or (h, w, 3) RGB, uint8, with its alpha, not yet turned upright.

    Raises:
        BrokenMedia: the file ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: a header states more pixels than the limit, or than can be written.
        UnsupportedMedia: it is animated, has more than 8 bits, or has colours that could not be written as they were.
    """
    with translate_errors("AVIF"):
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
            exif=exif.with_size(image.size),
            icc=scrub_icc_profile(image.info.get("icc_profile")),
            panorama=read_panorama(image.info.get("xmp")),
            details=subsampling,
        )


def _refuse_wide_colours(descriptions: list[bytes]) -> None:
    if any(description.startswith((b"prof", b"rICC")) for description in descriptions):
        return
    for description in descriptions:
        primaries, transfer = struct.unpack_from(">HH", description, 4)
        if primaries not in _PLAIN_PRIMARIES or transfer not in _PLAIN_TRANSFERS:
            raise UnsupportedMedia(
                "AVIF pictures with HDR or wide-gamut colours and no ICC profile are not supported, "
                "as their colours could not be written as they were."
            )


def _subsampling(configuration: int) -> str:
    """Chroma subsampling, from the third byte of the AV1 configuration (av1C)."""
    if configuration & 0x10:
        return "4:0:0"
    return {0x0C: "4:2:0", 0x08: "4:2:2"}.get(configuration & 0x0C, "4:4:4")


def write_avif(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the chroma subsampling of the source.

    Args:
        decoded: an image that `read_avif` returned; its `samples` may have other values.
        encoding: `quality` is used, 1..100; default: 90. Images with alpha are written at the highest quality instead.

    Returns:
        The file's bytes.

    Raises:
        TooLarge: it has more pixels than can be written.
    """
    _check_writable(*decoded.size_wh, "AVIF", has_alpha=decoded.alpha is not None)
    colour = decoded.samples if decoded.samples.ndim == 3 else np.dstack([decoded.samples] * 3)
    quality = encoding.quality or _DEFAULT_QUALITY
    options: dict[str, Any] = {"quality": quality, "subsampling": decoded.details, "exif": decoded.exif.to_bytes()}
    if packet := write_panorama(decoded.panorama):
        options["xmp"] = packet
    if decoded.alpha is not None:
        colour = np.dstack([colour, decoded.alpha])
        options["quality"] = _AVIF_LOSSLESS
    out = io.BytesIO()
    Image.fromarray(colour).save(out, "AVIF", icc_profile=decoded.icc, **options)
    return out.getvalue()
