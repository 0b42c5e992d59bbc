"""Read and write TIFF of one page: 1-bit, 8- and 16-bit greyscale, palette, RGB, CMYK and alpha.

The decoder gets a copy of the file whose directory has only the tags that describe the pixels, and one page. The output
has the tags that Pillow writes for the pixels, and EXIF, density and ICC profile. Thumbnails (further pages or
sub-directories), XMP, IPTC, Photoshop data and private tags are dropped. JPEG compression becomes Deflate, which is
lossless.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.decoded import (
    DecodedImage,
    Density,
    Encoding,
    Samples,
    check_size,
    contiguous_samples,
    is_unused,
    nearest_palette_indices,
    translate_errors,
)
from anonymizer.pipeline.images.exif_tags import (
    Directory,
    Entry,
    Exif,
    read_directory,
    read_header,
    read_integer,
    read_integers,
    scrub_directory,
)
from anonymizer.pipeline.images.metadata.geotiff import is_geographic
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.metadata.panorama import read_panorama, write_panorama
from anonymizer.pipeline.images.tiff_parts import (
    GROUP4,
    STRUCTURE,
    check_extent,
    check_parts,
    read_group4,
    with_directory,
)
from anonymizer.pipeline.limits import Limits

__all__ = ["check_tiff", "read_tiff", "write_tiff"]

#: Tags of TIFF 6.0: NewSubfileType, ImageWidth, ImageLength, BitsPerSample, Compression, PhotometricInterpretation, ...
_NEW_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_STRIPS, _CHANNELS, _STRIP_BYTES, _TILES, _TILE_BYTES = 0x0111, 0x0115, 0x0117, 0x0144, 0x0145
_X_DENSITY, _Y_DENSITY, _DENSITY_UNIT = 0x011A, 0x011B, 0x0128
_COLOUR_MAP, _INK_SET, _EXTRA, _FORMAT = 0x0140, 0x014C, 0x0152, 0x0153
_ICC, _DNG_VERSION = 0x8773, 0xC612
_SUB_DIRECTORIES, _XMP = 0x014A, 0x02BC
#: Those with exactly one value, whatever the image is. Pillow warns of more.
_SINGLE = STRUCTURE - {
    *(_BITS, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _COLOUR_MAP, _EXTRA, _FORMAT, 0x015B, 0x0211, 0x0212, 0x0214)
}
#: Values of PhotometricInterpretation.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
#: Pillow's mode without alpha, by photometric interpretation and bits per channel. Alpha is one more channel of 8 bits.
_MODES = {
    (_WHITE_IS_ZERO, (1,)): "1",
    (_BLACK_IS_ZERO, (1,)): "1",
    (_WHITE_IS_ZERO, (8,)): "L",
    (_BLACK_IS_ZERO, (8,)): "L",
    (_WHITE_IS_ZERO, (16,)): "I;16",
    (_BLACK_IS_ZERO, (16,)): "I;16",
    (_RGB, (8, 8, 8)): "RGB",
    (_PALETTE, (8,)): "P",
    (_CMYK, (8, 8, 8, 8)): "CMYK",
    (_YCBCR, (8, 8, 8)): "RGB",
}
#: Value of ExtraSamples: the colours are multiplied by alpha.
_ASSOCIATED = 1
_JPEG_COMPRESSION = 7
#: Of camera raw files: compressions of Sony, Nikon, Samsung and Pentax; a colour filter array, and linear sensor data.
_RAW_COMPRESSIONS, _RAW_PHOTOMETRIC = {32767, 32769, 32770, 34713, 65535}, {32803, 34892}
#: Pillow's name of the compression to write, by the compression that was read.
_COMPRESSIONS = {
    1: "raw",
    2: "tiff_ccitt",
    3: "group3",
    4: "group4",
    5: "tiff_lzw",
    8: "tiff_adobe_deflate",
    32773: "packbits",
    32946: "tiff_deflate",
    _JPEG_COMPRESSION: "tiff_adobe_deflate",
}
_KEPT_BY_PILLOW = STRUCTURE - {_EXTRA, _COLOUR_MAP}


@dataclass(frozen=True, slots=True)
class _TiffDetails:
    """What the writer needs: Pillow's mode, the compression to write, kind of alpha (ExtraSamples), and the palette."""

    mode: str
    compression: str
    extra: int | None
    colour_map: tuple[int, ...]


def read_tiff(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only page of a TIFF file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image as stored: (h, w) grey, (h, w, 3) RGB or (h, w, 4) CMYK, uint8 or uint16, not yet turned upright. It
        has the alpha or the palette of the file.

    Raises:
        BrokenMedia: the file ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it has several pages, is a camera raw file, or has pixels that could not be written as they
            were.
    """
    with translate_errors("TIFF"):
        order, page, details = _check(data, limits)
        check_parts(data, page, order, limits)
        plane = _decode(data, order, page, details, limits)
        return _to_decoded_image(data, plane, page, order, details)


def check_tiff(data: bytes, limits: Limits) -> None:
    """Check the directories of a TIFF file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or its directories are damaged.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it has several pages, is a camera raw file, or has pixels that could not be written as they
            were.
    """
    with translate_errors("TIFF"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> tuple[str, dict[int, Entry], _TiffDetails]:
    order, at = read_header(data)
    page, following = read_directory(data, order, at)
    width, height = (read_integer(page.get(tag), order) or 0 for tag in (_WIDTH, _HEIGHT))
    _refuse_raw(data, order, page)
    check_size(width, height, limits)
    _refuse_further_pages(data, order, following)
    details = _page_details(page, order)
    check_extent(data, page, order)
    return order, page, details


def _refuse_raw(data: bytes, order: str, page: dict[int, Entry]) -> None:
    """Refuse the raw files of cameras, also encrypted ones: what could be read of them is a preview."""
    kind = ""
    if _DNG_VERSION in page:
        kind = " (DNG)"
    elif data[8:10] == b"CR":
        kind = " (CR2)"
    elif not ((read_integer(page.get(_NEW_SUBFILE), order) or 0) & 1 or _is_sensor_data(page, order)):
        try:
            parts = [read_directory(data, order, at)[0] for at in read_integers(page.get(_SUB_DIRECTORIES), order)]
        except ValueError:
            return
        if not any(_is_sensor_data(part, order) for part in parts):
            return
    raise UnsupportedMedia(f"The file is a camera raw file{kind}, which is not supported: send a developed picture.")


def _is_sensor_data(page: dict[int, Entry], order: str) -> bool:
    compression, photometric = (read_integer(page.get(tag), order) for tag in (_COMPRESSION, _PHOTOMETRIC))
    return compression in _RAW_COMPRESSIONS or photometric in _RAW_PHOTOMETRIC


def _refuse_further_pages(data: bytes, order: str, following: int) -> None:
    # the offsets of the pages may go round in a circle
    visited = set()
    while following and following not in visited:
        visited.add(following)
        other, following = read_directory(data, order, following)
        if not (read_integer(other.get(_NEW_SUBFILE), order) or 0) & 1:
            raise UnsupportedMedia("TIFF files with several pages are not supported: send one page per file.")


def _page_details(page: dict[int, Entry], order: str) -> _TiffDetails:
    if any(page[tag].value_count != 1 for tag in _SINGLE & page.keys()):
        raise BrokenMedia("The TIFF picture is broken: a tag has more values than it can have.")
    channels = read_integer(page.get(_CHANNELS), order) or 1
    bits = read_integers(page.get(_BITS), order) or (1,)
    bits = bits * channels if len(bits) == 1 else bits
    extra = read_integers(page.get(_EXTRA), order)
    photometric = read_integer(page.get(_PHOTOMETRIC), order)
    compression = read_integer(page.get(_COMPRESSION), order) or 1
    if compression not in _COMPRESSIONS:
        raise UnsupportedMedia(f"TIFF pictures with compression {compression} are not supported.")
    colour_bits = bits[:-1] if len(extra) == 1 else bits
    mode = _MODES.get((photometric if photometric is not None else -1, colour_bits))
    plain = set(read_integers(page.get(_FORMAT), order)) <= {1} and (read_integer(page.get(_INK_SET), order) or 1) == 1
    alpha_fits = not extra or (len(extra) == 1 and bits[-1] == 8 and mode in ("L", "RGB") and photometric != 0)
    if mode is None or not plain or not alpha_fits or (photometric == _YCBCR and compression != _JPEG_COMPRESSION):
        raise UnsupportedMedia(
            "This kind of TIFF picture is not supported, as it could not be written as it was: "
            "1-bit, 8- and 16-bit greyscale, 8-bit palette, RGB and CMYK are."
        )
    return _TiffDetails(
        mode=mode,
        compression=_COMPRESSIONS[compression],
        extra=extra[0] if extra else None,
        colour_map=read_integers(page.get(_COLOUR_MAP), order),
    )


def _decode(data: bytes, order: str, page: dict[int, Entry], details: _TiffDetails, limits: Limits) -> Samples:
    if read_integer(page.get(_COMPRESSION), order) == GROUP4:
        return read_group4(data, page, order, limits)
    bare: Directory = {tag: entry for tag, entry in page.items() if tag in STRUCTURE}
    if details.extra is not None:
        # Declared as unassociated alpha. Otherwise Pillow divides the colours by alpha, or drops alpha.
        bare[_EXTRA] = Entry(3, 1, struct.pack(order + "H", 2))
    with TiffImageFile(io.BytesIO(with_directory(data, order, bare))) as image:
        image.load()
        plane = np.asarray(image)
    if details.mode == "1":
        return plane.astype(np.uint8) * 255
    if details.mode == "I;16":
        plane = plane.astype(np.uint16)
        return ~plane if read_integer(page.get(_PHOTOMETRIC), order) == _WHITE_IS_ZERO else plane
    return plane


def _to_decoded_image(
    data: bytes, plane: Samples, page: dict[int, Entry], order: str, details: _TiffDetails
) -> DecodedImage:
    exif = scrub_directory(data, page, order)
    density = _density(page, order)
    density_tags = (_X_DENSITY, _Y_DENSITY, _DENSITY_UNIT)
    tags = {tag: entry for tag, entry in exif.tags.items() if tag not in density_tags}
    exif = Exif(order, tags | {tag: entry for tag, entry in page.items() if is_geographic(tag, entry, order)})
    decoded = DecodedImage(
        samples=plane,
        orientation=exif.orientation,
        exif=exif.with_size((plane.shape[1], plane.shape[0])),
        icc=scrub_icc_profile(page[_ICC].value) if _ICC in page else None,
        density=density,
        panorama=read_panorama(page[_XMP].value) if _XMP in page else {},
        details=details,
    )
    if details.mode == "P":
        if len(details.colour_map) != 768:
            raise BrokenMedia("The TIFF picture is broken: its palette has a wrong length.")
        colours = (np.array(details.colour_map).reshape(3, 256).T // 256).astype(np.uint8)
        palette = np.column_stack([colours, np.full(256, 255, np.uint8)])
        indices = plane.astype(np.uint8)
        return replace(decoded, samples=palette[indices, :3], indices=indices, palette=palette)
    if details.extra is not None:
        colour = plane[..., 0] if details.mode == "L" else plane[..., :3]
        return replace(
            decoded,
            samples=contiguous_samples(colour),
            alpha=contiguous_samples(plane[..., -1]),
            premultiplied=details.extra == _ASSOCIATED,
        )
    return decoded


def _density(page: dict[int, Entry], order: str) -> Density | None:
    values = []
    for tag in (_X_DENSITY, _Y_DENSITY):
        entry = page.get(tag)
        if entry is None or entry.field_type != 5 or entry.value_count != 1:
            return None
        above, below = struct.unpack(order + "LL", entry.value)
        if not below:
            return None
        values.append(Fraction(above, below))
    return Density(values[0], values[1], read_integer(page.get(_DENSITY_UNIT), order) or 2)


def write_tiff(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the mode and the compression of the source; a lossy compression becomes Deflate.

    Args:
        decoded: an image that `read_tiff` returned; its `samples` may have other values.
        encoding: it has no effect.

    Returns:
        The file's bytes.
    """
    details: _TiffDetails = decoded.details
    out = io.BytesIO()
    image = _to_pil_image(decoded, details.mode)
    image.save(out, "TIFF", compression=details.compression)
    coded = out.getvalue()
    order, at = read_header(coded)
    page, _ = read_directory(coded, order, at)
    tags: Directory = {tag: entry for tag, entry in page.items() if tag in _KEPT_BY_PILLOW}
    tags |= _metadata_tags(decoded, order)
    if details.extra is not None:
        tags[_EXTRA] = Entry(3, 1, struct.pack(order + "H", details.extra))
    if details.mode == "P":
        tags[_COLOUR_MAP] = Entry(3, 768, struct.pack(order + "768H", *_colour_map(image, decoded, details)))
    # Pillow's own directory stays in the file, unused. It describes only the pixels.
    return with_directory(coded, order, tags)


def _colour_map(image: Image.Image, decoded: DecodedImage, details: _TiffDetails) -> list[int]:
    """The palette to write; after a redaction, the colours that no pixel uses are black."""
    colours = np.array(details.colour_map).reshape(3, 256)
    if decoded.redacted is not None:
        colours[:, is_unused(np.asarray(image), 256)] = 0
    return colours.ravel().tolist()


def _to_pil_image(decoded: DecodedImage, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(decoded.samples >= 128)
    if mode == "P":
        image = Image.fromarray(nearest_palette_indices(decoded))
        image.putpalette(bytes(768))
        return image
    if mode == "CMYK":
        return Image.frombytes("CMYK", decoded.size_wh, decoded.samples.tobytes())
    return Image.fromarray(decoded.samples if decoded.alpha is None else np.dstack([decoded.samples, decoded.alpha]))


def _metadata_tags(decoded: DecodedImage, order: str) -> Directory:
    tags: Directory = _convert_byte_order(decoded.exif.tags, decoded.exif.order, order)
    if decoded.icc is not None:
        tags[_ICC] = Entry(7, len(decoded.icc), decoded.icc)
    if packet := write_panorama(decoded.panorama):
        tags[_XMP] = Entry(1, len(packet), packet)
    if decoded.density is not None:
        for tag, value in ((_X_DENSITY, decoded.density.x), (_Y_DENSITY, decoded.density.y)):
            tags[tag] = Entry(5, 1, struct.pack(order + "LL", value.numerator, value.denominator))
        tags[_DENSITY_UNIT] = Entry(3, 1, struct.pack(order + "H", decoded.density.unit))
    return tags


#: Codes in `struct` of the numbers that a value consists of, by field type.
_ITEM_CODES = {3: "H", 4: "L", 5: "L", 8: "h", 9: "l", 10: "l", 11: "f", 12: "d", 13: "L"}


def _convert_byte_order(tags: Directory, old: str, new: str) -> Directory:
    """Convert the values of a directory from one byte order to another."""
    converted: Directory = {}
    for tag, entry in tags.items():
        if isinstance(entry, dict):
            converted[tag] = _convert_byte_order(entry, old, new)
        elif old != new and entry.field_type in _ITEM_CODES:
            code = _ITEM_CODES[entry.field_type]
            count = len(entry.value) // struct.calcsize("<" + code)
            values: tuple[Any, ...] = struct.unpack(f"{old}{count}{code}", entry.value)
            converted[tag] = entry._replace(value=struct.pack(f"{new}{count}{code}", *values))
        else:
            converted[tag] = entry
    return converted
