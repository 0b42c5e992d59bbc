"""TIFF in, TIFF out: 1-bit, 8- and 16-bit greyscale, palette, RGB, CMYK and alpha of one page.

The decoder gets a copy whose directory has only the tags that describe the pixels, and one page. The output has those
that Pillow writes for them, and EXIF, density and ICC. Thumbnails (as further pages or sub-directories), XMP, IPTC,
Photoshop's data and private tags go. JPEG within TIFF becomes Deflate: without loss.
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
    as_samples,
    check_size,
    clean_icc,
    nearest_indices,
    translated,
)
from anonymizer.pipeline.images.exif_tags import (
    Directory,
    Entry,
    Exif,
    first_number,
    numbers,
    pack_directory,
    read_directory,
    read_header,
    scrub,
)
from anonymizer.pipeline.limits import Limits

__all__ = ["check_tiff", "read_tiff", "write_tiff"]

_NEW_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106
_STRIPS, _CHANNELS, _STRIP_BYTES, _TILES, _TILE_BYTES = 0x0111, 0x0115, 0x0117, 0x0144, 0x0145
_X_DENSITY, _Y_DENSITY, _DENSITY_UNIT = 0x011A, 0x011B, 0x0128
_COLOUR_MAP, _INK_SET, _EXTRA, _FORMAT = 0x0140, 0x014C, 0x0152, 0x0153
_ICC, _DNG_VERSION = 0x8773, 0xC612
#: What describes the pixels: sizes, bits, coding, strips, tiles, palette, inks, JPEG tables.
_STRUCTURE = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 0x010A, _STRIPS, _CHANNELS, 0x0116, _STRIP_BYTES, 0x011C),
    *(0x0124, 0x0125, 0x013D, _COLOUR_MAP, 0x0142, 0x0143, _TILES, _TILE_BYTES, _INK_SET, _EXTRA, _FORMAT, 0x015B),
    *(0x0211, 0x0212, 0x0213, 0x0214),
}
#: Those of which there is one value, whatever the picture is; Pillow warns of more.
_SINGLE = _STRUCTURE - {
    *(_BITS, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _COLOUR_MAP, _EXTRA, _FORMAT, 0x015B, 0x0211, 0x0212, 0x0214)
}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
#: (photometric, bits) to the Pillow mode without alpha; alpha is one more channel of 8 bits.
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
_JPEG_COMPRESSION = 7
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
_KEPT_BY_PILLOW = _STRUCTURE - {_EXTRA, _COLOUR_MAP}


@dataclass(frozen=True, slots=True)
class _Details:
    mode: str
    compression: str
    extra: int | None
    colour_map: tuple[int, ...]


def read_tiff(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the only page of a TIFF file.

    Raises:
        BrokenMedia: it ends early or cannot be decoded.
        TooLarge: the header claims more pixels than the limit.
        UnsupportedMedia: several pages, camera raw, or pixels that could not be written as they were.
    """
    with translated("TIFF"):
        order, page, details = _check(data, limits)
        plane = _decode(data, order, page, details)
        return _decoded(data, plane, page, order, details)


def check_tiff(data: bytes, limits: Limits) -> None:
    """Judge the directories, as `read_tiff` does before it decodes."""
    with translated("TIFF"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> tuple[str, dict[int, Entry], _Details]:
    order, at = read_header(data)
    page, following = read_directory(data, order, at)
    width, height = (first_number(page.get(tag), order) or 0 for tag in (_WIDTH, _HEIGHT))
    check_size(width, height, limits)
    _refuse_others(data, order, page, following)
    details = _judge(page, order)
    _check_extent(data, page, order)
    return order, page, details


def _refuse_others(data: bytes, order: str, page: dict[int, Entry], following: int) -> None:
    if _DNG_VERSION in page or (first_number(page.get(_NEW_SUBFILE), order) or 0) & 1:
        raise UnsupportedMedia("The file is a camera raw file, which is not supported: send a developed picture.")
    seen = set()
    while following and following not in seen:
        seen.add(following)
        other, following = read_directory(data, order, following)
        if not (first_number(other.get(_NEW_SUBFILE), order) or 0) & 1:
            raise UnsupportedMedia("TIFF files with several pages are not supported: send one page per file.")


def _judge(page: dict[int, Entry], order: str) -> _Details:
    if any(page[tag].n != 1 for tag in _SINGLE & page.keys()):
        raise BrokenMedia("The TIFF picture is broken: a tag has more values than it can have.")
    channels = first_number(page.get(_CHANNELS), order) or 1
    bits = numbers(page.get(_BITS), order) or (1,)
    bits = bits * channels if len(bits) == 1 else bits
    extra = numbers(page.get(_EXTRA), order)
    photometric = first_number(page.get(_PHOTOMETRIC), order)
    compression = first_number(page.get(_COMPRESSION), order) or 1
    if compression not in _COMPRESSIONS:
        raise UnsupportedMedia(f"TIFF pictures with compression {compression} are not supported.")
    colour_bits = bits[:-1] if len(extra) == 1 else bits
    mode = _MODES.get((photometric if photometric is not None else -1, colour_bits))
    plain = set(numbers(page.get(_FORMAT), order)) <= {1} and (first_number(page.get(_INK_SET), order) or 1) == 1
    alpha_fits = not extra or (len(extra) == 1 and bits[-1] == 8 and mode in ("L", "RGB") and photometric != 0)
    if mode is None or not plain or not alpha_fits or (photometric == _YCBCR and compression != _JPEG_COMPRESSION):
        raise UnsupportedMedia(
            "This kind of TIFF picture is not supported, as it could not be written as it was: "
            "1-bit, 8- and 16-bit greyscale, 8-bit palette, RGB and CMYK are."
        )
    return _Details(
        mode=mode,
        compression=_COMPRESSIONS[compression],
        extra=extra[0] if extra else None,
        colour_map=numbers(page.get(_COLOUR_MAP), order),
    )


def _check_extent(data: bytes, page: dict[int, Entry], order: str) -> None:
    """Strips or tiles must lie within the file. One that is left out counts as beyond it."""
    for places, lengths in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES)):
        starts, sizes = numbers(page.get(places), order), numbers(page.get(lengths), order)
        if starts and len(starts) == len(sizes):
            if max(start + size for start, size in zip(starts, sizes, strict=True)) > len(data):
                break
            return
    raise BrokenMedia("The TIFF picture is broken: the file ends before the picture does.")


def _decode(data: bytes, order: str, page: dict[int, Entry], details: _Details) -> Samples:
    bare: Directory = {tag: entry for tag, entry in page.items() if tag in _STRUCTURE}
    if details.extra is not None:
        # As plain alpha: otherwise Pillow divides by it, or drops it.
        bare[_EXTRA] = Entry(3, 1, struct.pack(order + "H", 2))
    with TiffImageFile(io.BytesIO(_with_directory(data, order, bare))) as image:
        image.load()
        plane = np.asarray(image)
    if details.mode == "1":
        return plane.astype(np.uint8) * 255
    if details.mode == "I;16":
        plane = plane.astype(np.uint16)
        return ~plane if first_number(page.get(_PHOTOMETRIC), order) == _WHITE_IS_ZERO else plane
    return plane


def _with_directory(data: bytes, order: str, directory: Directory) -> bytes:
    """The same file with another main directory, which is laid at its end."""
    at = len(data) + len(data) % 2
    body = data[8:] + b"\0" * (len(data) % 2)
    return data[:4] + struct.pack(order + "L", at) + body + pack_directory(directory, order, at=at)


def _decoded(data: bytes, plane: Samples, page: dict[int, Entry], order: str, details: _Details) -> DecodedImage:
    exif = scrub(data, page, order)
    density = _density(page, order)
    exif = Exif(order, {tag: e for tag, e in exif.tags.items() if tag not in (_X_DENSITY, _Y_DENSITY, _DENSITY_UNIT)})
    decoded = DecodedImage(
        samples=plane,
        orientation=exif.orientation,
        exif=exif.for_picture((plane.shape[1], plane.shape[0])),
        icc=clean_icc(page[_ICC].value) if _ICC in page else None,
        density=density,
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
        return replace(decoded, samples=as_samples(colour), alpha=as_samples(plane[..., -1]))
    return decoded


def _density(page: dict[int, Entry], order: str) -> Density | None:
    values = []
    for tag in (_X_DENSITY, _Y_DENSITY):
        entry = page.get(tag)
        if entry is None or entry.kind != 5 or entry.n != 1:
            return None
        above, below = struct.unpack(order + "LL", entry.value)
        if not below:
            return None
        values.append(Fraction(above, below))
    return Density(values[0], values[1], first_number(page.get(_DENSITY_UNIT), order) or 2)


def write_tiff(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the mode and, where it is without loss, the compression of the source."""
    details: _Details = decoded.details
    out = io.BytesIO()
    _image(decoded, details.mode).save(out, "TIFF", compression=details.compression)
    coded = out.getvalue()
    order, at = read_header(coded)
    page, _ = read_directory(coded, order, at)
    tags: Directory = {tag: entry for tag, entry in page.items() if tag in _KEPT_BY_PILLOW}
    tags |= _metadata(decoded, order)
    if details.extra is not None:
        tags[_EXTRA] = Entry(3, 1, struct.pack(order + "H", details.extra))
    if details.mode == "P":
        tags[_COLOUR_MAP] = Entry(3, 768, struct.pack(order + "768H", *details.colour_map))
    # Pillow's own directory stays in the file, unused: it names nothing but the pixels.
    return _with_directory(coded, order, tags)


def _image(decoded: DecodedImage, mode: str) -> Image.Image:
    if mode == "1":
        return Image.fromarray(decoded.samples >= 128)
    if mode == "P":
        image = Image.fromarray(nearest_indices(decoded))
        image.putpalette(bytes(768))
        return image
    if mode == "CMYK":
        return Image.frombytes("CMYK", decoded.size_wh, decoded.samples.tobytes())
    return Image.fromarray(decoded.samples if decoded.alpha is None else np.dstack([decoded.samples, decoded.alpha]))


def _metadata(decoded: DecodedImage, order: str) -> Directory:
    tags: Directory = _in_order(decoded.exif.tags, decoded.exif.order, order)
    if decoded.icc is not None:
        tags[_ICC] = Entry(7, len(decoded.icc), decoded.icc)
    if decoded.density is not None:
        for tag, value in ((_X_DENSITY, decoded.density.x), (_Y_DENSITY, decoded.density.y)):
            tags[tag] = Entry(5, 1, struct.pack(order + "LL", value.numerator, value.denominator))
        tags[_DENSITY_UNIT] = Entry(3, 1, struct.pack(order + "H", decoded.density.unit))
    return tags


_WORDS = {3: "H", 4: "L", 5: "L", 8: "h", 9: "l", 10: "l", 11: "f", 12: "d"}


def _in_order(tags: Directory, old: str, new: str) -> Directory:
    """The same numbers in the other byte order."""
    turned: Directory = {}
    for tag, entry in tags.items():
        if isinstance(entry, dict):
            turned[tag] = _in_order(entry, old, new)
        elif old != new and entry.kind in _WORDS:
            code = _WORDS[entry.kind]
            n = len(entry.value) // struct.calcsize("<" + code)
            values: tuple[Any, ...] = struct.unpack(f"{old}{n}{code}", entry.value)
            turned[tag] = entry._replace(value=struct.pack(f"{new}{n}{code}", *values))
        else:
            turned[tag] = entry
    return turned
