"""JPEG in, JPEG out: with the tables and the subsampling of the source.

Kept: EXIF (scrubbed), ICC, density, Adobe's colour transform. Every other application segment and comment goes (JFXX,
MPF, XMP, Photoshop), and so does everything behind the end of the first picture (MPF previews, gain
maps, motion photos).
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.decoded import DecodedImage, Density, Encoding, check_size, clean_icc, translated
from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.limits import Limits

__all__ = ["check_jpeg", "read_jpeg", "write_jpeg"]

_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _APP0, _APP1, _APP2, _APP14 = (
    *(0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD),
    *(0xE0, 0xE1, 0xE2, 0xEE),
)
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
#: The next marker within entropy-coded data: neither a stuffed zero, nor a restart, nor padding.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: Zeros enough for two units of ten blocks of the shortest codes: what is missing in part, and the one behind it.
_PADDING = 1024
#: Neither padding, nor a stuffed zero, nor one of those that stand alone.
_ANY_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_ICC_SIGN, _EXIF_SIGN, _JFIF_SIGN, _ADOBE_SIGN = b"ICC_PROFILE\0", b"Exif\0", b"JFIF\0", b"Adobe"
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_RGB_TRANSFORM, _YCCK_TRANSFORM = 0, 2


@dataclass(slots=True)
class _Layout:
    """Where the parts of the first picture lie: (marker, payload) before its first scan, the scans, the end."""

    segments: list[tuple[int, bytes]] = field(default_factory=list)
    scan_start: int = 0
    #: Where entropy-coded data end: the places of the markers that follow each scan.
    scan_ends: list[int] = field(default_factory=list)

    def payload(self, marker: int, sign: bytes = b"") -> bytes | None:
        return next((p for m, p in self.segments if m == marker and p.startswith(sign)), None)

    @property
    def frame(self) -> tuple[int, bytes]:
        return next((m, p) for m, p in self.segments if m in _FRAMES)


@dataclass(frozen=True, slots=True)
class _Details:
    """How the source was coded. `tables` has one quantisation table per component, in natural order."""

    tables: list[list[int]]
    subsampling: int
    progressive: bool
    keep_rgb: bool
    adobe: bool


def read_jpeg(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the first picture of a JPEG file.

    Raises:
        BrokenMedia: it ends early, or cannot be decoded.
        TooLarge: the header claims more pixels than the limit.
        UnsupportedMedia: lossless, hierarchical, arithmetic or 12-bit coding.
    """
    with translated("JPEG"):
        layout, (width, height, components) = _check(data, limits)
        bare = _bare(data, layout)
        image = _decode(bare)
        pixels = np.asarray(image)
        if not _is_complete(data, layout, pixels):
            raise BrokenMedia("The JPEG picture is broken: its data end before the picture is complete.")
        exif_block = layout.payload(_APP1, _EXIF_SIGN)
        exif = read_exif(exif_block) if exif_block else Exif()
        return DecodedImage(
            samples=pixels,
            orientation=exif.orientation,
            exif=exif.for_picture((width, height)),
            icc=_icc(layout),
            density=_density(layout),
            details=_details(layout, image, components),
        )


def check_jpeg(data: bytes, limits: Limits) -> None:
    """Judge the headers and the end of the file, as `read_jpeg` does before it decodes."""
    with translated("JPEG"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> tuple[_Layout, tuple[int, int, int]]:
    layout = _walk(data)
    return layout, _check_frame(layout, limits)


def _walk(data: bytes) -> _Layout:
    layout, at = _Layout(), 2
    while True:
        marker, at = _marker(data, at)
        if marker == _EOI:
            break
        if marker == _SOI:
            raise BrokenMedia("The JPEG picture is broken: another picture begins within it.")
        length = int.from_bytes(data[at : at + 2], "big")
        end = at + length
        if length < 2 or end > len(data):
            raise BrokenMedia("The JPEG picture is broken: the file ends within its header.")
        if marker == _SOS:
            layout.scan_start = layout.scan_start or at - 2
            following = _NEXT_MARKER.search(data, end)
            if following is None:
                raise BrokenMedia("The JPEG picture is broken: the file ends before the picture does.")
            layout.scan_ends.append(following.start())
            end = following.start()
        elif not layout.scan_start:
            layout.segments.append((marker, data[at + 2 : end]))
        at = end
    if not layout.scan_start or not any(marker in _FRAMES for marker, _ in layout.segments):
        raise BrokenMedia("The JPEG picture is broken: there is no picture in it.")
    return layout


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The next marker, and the place behind it; decoders skip what lies before one, and so does this."""
    found = _ANY_MARKER.search(data, at)
    if found is None:
        raise BrokenMedia("The JPEG picture is broken: the file ends before the picture does.")
    return found[0][1], found.end()


def _check_frame(layout: _Layout, limits: Limits) -> tuple[int, int, int]:
    marker, payload = layout.frame
    precision, height, width = payload[0], int.from_bytes(payload[1:3], "big"), int.from_bytes(payload[3:5], "big")
    components = payload[5]
    check_size(width, height, limits)
    if marker in _ARITHMETIC:
        raise UnsupportedMedia("JPEG pictures with arithmetic coding are not supported.")
    if marker not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
        raise UnsupportedMedia("Lossless and hierarchical JPEG pictures are not supported.")
    if precision != 8:
        raise UnsupportedMedia(f"JPEG pictures with {precision} bits per channel are not supported; 8 bits are.")
    if components not in _MODES:
        raise UnsupportedMedia(f"JPEG pictures with {components} colour channels are not supported; 1, 3 and 4 are.")
    if len(payload) < 6 + 3 * components:
        raise BrokenMedia("The JPEG picture is broken: its frame header is cut off.")
    return width, height, components


def _bare(data: bytes, layout: _Layout) -> bytes:
    """The first picture without anything that the decoder does not need."""
    kept = [
        (marker, payload)
        for marker, payload in layout.segments
        if marker in {*_FRAMES, _DQT, _DHT, _DRI}
        or (marker == _APP0 and payload.startswith(_JFIF_SIGN))
        or (marker == _APP14 and payload.startswith(_ADOBE_SIGN))
    ]
    return b"\xff\xd8" + _join(kept) + data[layout.scan_start : layout.scan_ends[-1]] + b"\xff\xd9"


def _join(segments: list[tuple[int, bytes]]) -> bytes:
    return b"".join(bytes((0xFF, m)) + (len(p) + 2).to_bytes(2, "big") + p for m, p in segments)


def _decode(bare: bytes) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(bare))
    image.load()
    return image


def _is_complete(data: bytes, layout: _Layout, pixels: np.ndarray[Any, Any]) -> bool:
    """Whether the scans hold the whole picture; libjpeg only warns where they do not, and fills up with flat blocks.

    A scan that is complete is not changed by zeros behind it; one that is not takes them for blocks (where no more than
    a part of its last unit is missing, they change nothing). The second decoding is left out where the last block of a
    sequential picture is not flat, as it then was in the file.
    """
    ends_flat = bool((pixels[-8:, -8:] == pixels[-1, -1]).all())
    if len(layout.scan_ends) == 1 and not ends_flat:
        return True
    parts = [data[start:end] for start, end in pairwise((layout.scan_start, *layout.scan_ends))]
    stuffed = b"".join(part + bytes(_PADDING) for part in parts)
    bare = _bare(data, layout)
    header = bare[: len(bare) - 2 - (layout.scan_ends[-1] - layout.scan_start)]
    return bool(np.array_equal(np.asarray(_decode(header + stuffed + b"\xff\xd9")), pixels))


def _icc(layout: _Layout) -> bytes | None:
    parts = sorted(p[len(_ICC_SIGN) :] for m, p in layout.segments if m == _APP2 and p.startswith(_ICC_SIGN))
    if not parts or [part[0] for part in parts if part] != list(range(1, len(parts) + 1)):
        return None
    return clean_icc(b"".join(part[2:] for part in parts))


def _density(layout: _Layout) -> Density | None:
    """As JFIF has it: unit 1 per inch, 2 per centimetre."""
    jfif = layout.payload(_APP0, _JFIF_SIGN)
    if jfif is None or len(jfif) < 12:
        return None
    return Density(
        Fraction(int.from_bytes(jfif[8:10], "big")), Fraction(int.from_bytes(jfif[10:12], "big")), min(jfif[7], 2)
    )


def _details(layout: _Layout, image: JpegImageFile, components: int) -> _Details:
    marker, payload = layout.frame
    adobe = layout.payload(_APP14, _ADOBE_SIGN)
    transform = adobe[11] if adobe is not None and len(adobe) >= 12 else None
    rows = [payload[6 + 3 * i : 9 + 3 * i] for i in range(components)]
    is_jfif = layout.payload(_APP0, _JFIF_SIGN) is not None
    named_rgb = transform is None and not is_jfif and bytes(row[0] for row in rows) == b"RGB"
    tables = [list(image.quantization[row[2]]) for row in rows]
    if transform == _YCCK_TRANSFORM:
        # Written as CMYK, where each channel is as visible as luma.
        tables = tables[:1]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return _Details(
        tables=tables,
        subsampling=_subsampling([(row[1] >> 4, row[1] & 15) for row in rows]),
        progressive=marker == _PROGRESSIVE,
        keep_rgb=components == 3 and (transform == _RGB_TRANSFORM or named_rgb),
        adobe=adobe is not None,
    )


def _subsampling(factors: list[tuple[int, int]]) -> int:
    """Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.

    Others (4:4:0, 4:1:1, chroma finer than luma) become 4:4:4: larger, but never coarser than the source.
    """
    if len(factors) != 3 or factors[1] != factors[2]:
        return 0
    (luma_x, luma_y), (chroma_x, chroma_y) = factors[0], factors[1]
    ratio = (luma_x / chroma_x, luma_y / chroma_y) if chroma_x and chroma_y else (0, 0)
    return {(2.0, 1.0): 1, (2.0, 2.0): 2}.get(ratio, 0)


def write_jpeg(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the source's tables, or at `quality`; subsampling and progressive order stay in both cases."""
    details: _Details = decoded.details
    height, width = decoded.samples.shape[:2]
    mode = _MODES[1 if decoded.samples.ndim == 2 else decoded.samples.shape[2]]
    image = Image.frombytes(mode, (width, height), decoded.samples.tobytes())
    options: dict[str, Any] = {"keep_rgb": details.keep_rgb}
    if mode == "RGB":
        options["subsampling"] = 0 if details.keep_rgb else details.subsampling
    if encoding.quality is None:
        options["qtables"] = details.tables
    else:
        options["quality"] = encoding.quality
    coded = _encode(image, options, progressive=details.progressive)
    return _with_metadata(coded, decoded, details)


def _encode(image: Image.Image, options: dict[str, Any], *, progressive: bool) -> bytes:
    out = io.BytesIO()
    try:
        image.save(out, "JPEG", optimize=True, progressive=progressive, **options)
    except OSError:
        # Pillow's buffer for these two holds two bytes a pixel, too little for nearly lossless noise. Sequential coding
        # needs no such buffer and gives the same pixels.
        out = io.BytesIO()
        image.save(out, "JPEG", **options)
    return out.getvalue()


def _with_metadata(coded: bytes, decoded: DecodedImage, details: _Details) -> bytes:
    layout = _walk(coded)
    segments: list[tuple[int, bytes]] = []
    if decoded.density is not None and not details.keep_rgb and decoded.samples.shape[2:] != (4,):
        x, y = (int(value).to_bytes(2, "big") for value in (decoded.density.x, decoded.density.y))
        segments.append((_APP0, _JFIF_SIGN + b"\x01\x02" + bytes([decoded.density.unit]) + x + y + b"\0\0"))
    if exif := decoded.exif.to_bytes():
        segments.append((_APP1, _EXIF_SIGN + b"\0" + exif))
    if decoded.icc is not None:
        parts = [decoded.icc[i : i + 65_000] for i in range(0, len(decoded.icc), 65_000)]
        segments += [(_APP2, _ICC_SIGN + bytes((i, len(parts))) + part) for i, part in enumerate(parts, 1)]
    # A CMYK picture without Adobe's segment must not get one: readers would invert it.
    segments += [(m, p) for m, p in layout.segments if not 0xE0 <= m <= 0xEF or (m == _APP14 and details.adobe)]
    return b"\xff\xd8" + _join(segments) + coded[layout.scan_start :]
