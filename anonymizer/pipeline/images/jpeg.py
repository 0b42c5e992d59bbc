"""Read and write JPEG, with the quantisation tables and the chroma subsampling of the source.

EXIF, the ICC profile, panorama properties (all scrubbed), density and Adobe's colour transform are kept. All other
application segments and comments are dropped (JFXX, MPF, other XMP, Photoshop). So is everything after the end of the
first image: MPF previews, gain maps, motion photos.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.completeness import Scan, has_all_scans, is_refined
from anonymizer.pipeline.images.decoded import (
    DecodedImage,
    Density,
    Encoding,
    check_size,
    translate_errors,
)
from anonymizer.pipeline.images.decoder_checks.client import jpeg_warnings
from anonymizer.pipeline.images.metadata.jpeg_segments import pack_segments, read_segments
from anonymizer.pipeline.limits import Limits

__all__ = ["check_jpeg", "read_jpeg", "write_jpeg"]

#: Second bytes of markers (ITU-T T.81, table B.1).
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _APP0, _APP1, _APP2, _APP14 = (
    *(0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD),
    *(0xE0, 0xE1, 0xE2, 0xEE),
)
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
#: Markers of frame headers (SOF), and those of them with arithmetic coding.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
#: The next marker after entropy-coded data, which contain stuffed zeros, restart markers and padding.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
#: What libjpeg says of bytes between the last coded unit and the end marker.
_BYTES_LEFT = re.compile(r"Corrupt JPEG data: ([0-9]+) extraneous bytes before marker 0xd9")
#: A marker with a segment: no padding, no stuffed zero, no marker that stands alone.
_ANY_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_JFIF_SIGNATURE, _ADOBE_SIGNATURE = b"JFIF\0", b"Adobe"
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
#: Colour transforms of Adobe's segment (APP14).
_RGB_TRANSFORM, _YCCK_TRANSFORM = 0, 2


@dataclass(slots=True)
class _Layout:
    """Where the parts of the first image lie.

    Attributes:
        segments: marker and payload of the segments before the first scan.
        scan_start: offset of the first scan.
        scans: all scans.
        has_end: whether there is an end marker (EOI).
    """

    segments: list[tuple[int, bytes]] = field(default_factory=list)
    scan_start: int = 0
    scans: list[Scan] = field(default_factory=list)
    has_end: bool = True

    def payload(self, marker: int, signature: bytes = b"") -> bytes | None:
        """Payload of the first segment with this marker and signature."""
        payloads = (payload for found, payload in self.segments if found == marker)
        return next((payload for payload in payloads if payload.startswith(signature)), None)

    @property
    def frame(self) -> tuple[int, bytes]:
        """Marker and payload of the frame header."""
        return next((marker, payload) for marker, payload in self.segments if marker in _FRAMES)


@dataclass(frozen=True, slots=True)
class _JpegDetails:
    """How the source was encoded.

    Attributes:
        tables: one quantisation table of 64 numbers for each component, in natural order. Equal last ones are left out.
        subsampling: Pillow's number: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
        progressive: whether the scans are progressive.
        keep_rgb: whether the components are RGB and not YCbCr.
        adobe: whether there is Adobe's segment (APP14).
    """

    tables: list[list[int]]
    subsampling: int
    progressive: bool
    keep_rgb: bool
    adobe: bool


def read_jpeg(data: bytes, limits: Limits) -> DecodedImage:
    """Decode the first image of a JPEG file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image as stored: (h, w) grey, (h, w, 3) RGB or (h, w, 4) CMYK, uint8, not yet turned upright.

    Raises:
        BrokenMedia: the file ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: the coding is lossless, hierarchical, arithmetic or 12-bit, or there are 2 or more than 4
            channels.
    """
    with translate_errors("JPEG"):
        layout, (width, height, components) = _check(data, limits)
        bare = _without_metadata(data, layout)
        image = _decode(bare)
        pixels = np.asarray(image)
        _check_complete(data, layout)
        exif, icc, panorama = read_segments(layout.segments)
        return DecodedImage(
            samples=pixels,
            orientation=exif.orientation,
            exif=exif.with_size((width, height)),
            icc=icc,
            density=_density(layout),
            panorama=panorama,
            details=_details(layout, image, components),
        )


def check_jpeg(data: bytes, limits: Limits) -> None:
    """Check the headers and the end of the file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or its headers are damaged.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: the coding is lossless, hierarchical, arithmetic or 12-bit, or there are 2 or more than 4
            channels.
    """
    with translate_errors("JPEG"):
        layout, _ = _check(data, limits)
        if not layout.has_end:
            # only decoding tells whether the file ends early
            _check_complete(data, layout)


def _check(data: bytes, limits: Limits) -> tuple[_Layout, tuple[int, int, int]]:
    layout = _parse_segments(data)
    return layout, _check_frame(layout, limits)


def _parse_segments(data: bytes) -> _Layout:
    """Find the segments and scans of the first image."""
    layout, at, interval = _Layout(), 2, 0
    while layout.has_end:
        marker, at = _next_marker(data, at)
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
            start, following = end, _NEXT_MARKER.search(data, end)
            layout.has_end = following is not None
            end = following.start() if following else _end_without_marker(data, start)
            layout.scans.append(Scan(data[at + 2 : start], start, end, interval))
        elif not layout.scan_start:
            layout.segments.append((marker, data[at + 2 : end]))
        if marker == _DRI:
            interval = int.from_bytes(data[at + 2 : at + 4], "big")
        at = end
    if not layout.scan_start or not any(marker in _FRAMES for marker, _ in layout.segments):
        raise BrokenMedia("The JPEG picture is broken: there is no picture in it.")
    return layout


def _end_without_marker(data: bytes, start: int) -> int:
    """Where the entropy-coded data end in a file without an end marker: before half a marker, or zeros."""
    end = max(start, len(data.rstrip(b"\0")))
    if data[start:end].endswith(b"\xff"):
        # a zero after 0xFF belongs to it
        return end + 1 if end < len(data) else end - 1
    return end


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The next marker and the offset after it. Bytes before a marker are skipped, as decoders do."""
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


def _without_metadata(data: bytes, layout: _Layout) -> bytes:
    """The first image without anything that the decoder does not need."""
    kept = [
        (marker, payload)
        for marker, payload in layout.segments
        if marker in {*_FRAMES, _DQT, _DHT, _DRI}
        or (marker == _APP0 and payload.startswith(_JFIF_SIGNATURE))
        or (marker == _APP14 and payload.startswith(_ADOBE_SIGNATURE))
    ]
    return b"\xff\xd8" + _join(kept) + data[layout.scan_start : layout.scans[-1].end] + b"\xff\xd9"


def _join(segments: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2, "big") + payload for marker, payload in segments
    )


def _decode(bare: bytes) -> JpegImageFile:
    image = JpegImageFile(io.BytesIO(bare))
    image.load()
    return image


def _check_complete(data: bytes, layout: _Layout) -> None:
    """Refuse scans that do not hold the whole image, are damaged, or go on after its last coded unit (MCU).

    libjpeg only warns of them. It fills what is missing with flat blocks, and puts what comes after damage elsewhere.
    """
    marker, frame = layout.frame
    complete = has_all_scans(data, layout.scans, frame)
    if not layout.has_end and marker == _PROGRESSIVE:
        complete = complete and is_refined(layout.scans, frame)
    if not complete:
        raise BrokenMedia("The JPEG picture is broken: its data end before the picture is complete.")
    warnings = jpeg_warnings(_for_warnings(data, layout, layout.scans[-1].end))
    if len(warnings) == 1 and (found := _BYTES_LEFT.fullmatch(warnings[0])):
        end = _end_without_fill(data, layout.scans[-1], int(found[1]))
        warnings = jpeg_warnings(_for_warnings(data, layout, end)) if end else warnings
    if warnings:
        raise BrokenMedia(f"The JPEG picture is broken: {'; '.join(warnings)}.")


def _for_warnings(data: bytes, layout: _Layout, end: int) -> bytes:
    """The first image up to an offset, without what libjpeg has harmless warnings for: it tells only the first one.

    Those are the revision of JFIF, Adobe's colour transform, and the last bytes of scan headers of sequential images.
    """
    kept = [(marker, payload) for marker, payload in layout.segments if marker in {*_FRAMES, _DQT, _DHT, _DRI}]
    coded = bytearray(data[layout.scan_start : end])
    if layout.frame[0] != _PROGRESSIVE:
        for scan in layout.scans:
            at = scan.start - layout.scan_start
            coded[at - 3 : at] = bytes((0, 63, 0))
    return b"\xff\xd8" + _join(kept) + bytes(coded) + b"\xff\xd9"


def _end_without_fill(data: bytes, scan: Scan, count: int) -> int | None:
    """Where the last scan ends without the bytes after its last coded unit; None if these may be data of the picture.

    Some cameras write one byte too much, or zeros. No zero counts then: a damaged disk leaves zeros in place of data.
    """
    if count == 1:
        return scan.end - 1
    coded = data[scan.start : scan.end]
    if any(coded[-count:]):
        return None
    end = scan.start + len(coded.rstrip(b"\0"))
    # a zero after 0xFF belongs to it
    return end + 1 if data[end - 1] == 0xFF else end


def _density(layout: _Layout) -> Density | None:
    """The density of JFIF. Its units: 0 is none (an aspect ratio), 1 is per inch, 2 is per centimetre."""
    jfif = layout.payload(_APP0, _JFIF_SIGNATURE)
    if jfif is None or len(jfif) < 12:
        return None
    return Density(
        Fraction(int.from_bytes(jfif[8:10], "big")), Fraction(int.from_bytes(jfif[10:12], "big")), min(jfif[7], 2)
    )


def _details(layout: _Layout, image: JpegImageFile, components: int) -> _JpegDetails:
    marker, payload = layout.frame
    adobe = layout.payload(_APP14, _ADOBE_SIGNATURE)
    transform = adobe[11] if adobe is not None and len(adobe) >= 12 else None
    rows = [payload[6 + 3 * i : 9 + 3 * i] for i in range(components)]
    is_jfif = layout.payload(_APP0, _JFIF_SIGNATURE) is not None
    named_rgb = transform is None and not is_jfif and bytes(row[0] for row in rows) == b"RGB"
    tables = [list(image.quantization[row[2]]) for row in rows]
    if transform == _YCCK_TRANSFORM:
        # It is written as CMYK, in which each channel is as visible as luma.
        tables = tables[:1]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return _JpegDetails(
        tables=tables,
        subsampling=_subsampling([(row[1] >> 4, row[1] & 15) for row in rows]),
        progressive=marker == _PROGRESSIVE,
        keep_rgb=components == 3 and (transform == _RGB_TRANSFORM or named_rgb),
        adobe=adobe is not None,
    )


def _subsampling(factors: list[tuple[int, int]]) -> int:
    """Pillow's number of the chroma subsampling: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.

    Pillow does not write others (4:4:0, 4:1:1, chroma finer than luma). They become 4:4:4, which makes the file larger
    but is never coarser than the source.
    """
    if len(factors) != 3 or factors[1] != factors[2]:
        return 0
    (luma_x, luma_y), (chroma_x, chroma_y) = factors[0], factors[1]
    ratio = (luma_x / chroma_x, luma_y / chroma_y) if chroma_x and chroma_y else (0, 0)
    return {(2.0, 1.0): 1, (2.0, 2.0): 2}.get(ratio, 0)


def write_jpeg(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the quantisation tables of the source, or at the quality of `encoding` if it has one.

    Chroma subsampling and progressive order stay in both cases.

    Args:
        decoded: an image that `read_jpeg` returned; its `samples` may have other values.
        encoding: `quality` is used, 1..100; default: the quantisation tables of the source.

    Returns:
        The file's bytes.
    """
    details: _JpegDetails = decoded.details
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
    return _add_metadata(coded, decoded, details)


def _encode(image: Image.Image, options: dict[str, Any], *, progressive: bool) -> bytes:
    out = io.BytesIO()
    try:
        image.save(out, "JPEG", optimize=True, progressive=progressive, **options)
    except OSError:
        # For `optimize` and `progressive`, Pillow has a buffer of two bytes per pixel, too little for nearly lossless
        # noise. Sequential coding needs no such buffer and gives the same pixels.
        out = io.BytesIO()
        image.save(out, "JPEG", **options)
    return out.getvalue()


def _add_metadata(coded: bytes, decoded: DecodedImage, details: _JpegDetails) -> bytes:
    layout = _parse_segments(coded)
    segments: list[tuple[int, bytes]] = []
    if decoded.density is not None and not details.keep_rgb and decoded.samples.shape[2:] != (4,):
        x, y = (int(value).to_bytes(2, "big") for value in (decoded.density.x, decoded.density.y))
        segments.append((_APP0, _JFIF_SIGNATURE + b"\x01\x02" + bytes([decoded.density.unit]) + x + y + b"\0\0"))
    segments += pack_segments(decoded.exif, decoded.icc, decoded.panorama)
    # A CMYK image without Adobe's segment must not get one: readers would invert it.
    segments += [
        (marker, payload)
        for marker, payload in layout.segments
        if not 0xE0 <= marker <= 0xEF or (marker == _APP14 and details.adobe)
    ]
    return b"\xff\xd8" + _join(segments) + coded[layout.scan_start :]
