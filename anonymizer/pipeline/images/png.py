"""Read and write PNG: greyscale of 1 to 16 bits, palette, RGB and alpha, interlaced or not.

Only known chunks reach the decoder and the output: colour (iCCP, gAMA, cHRM, sRGB, cICP, sBIT), density (pHYs),
background, transparency, scrubbed EXIF and the properties of a panorama (XMP). EXIF may lie in a text chunk, as a raw
profile. All other texts, XMP, private chunks and data after IEND are dropped. The output is not interlaced.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images.completeness import has_all_rows
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
from anonymizer.pipeline.images.exif_tags import read_exif
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.metadata.panorama import read_panorama, write_panorama
from anonymizer.pipeline.images.metadata.png_texts import raw_exif, xmp_packet, xmp_text
from anonymizer.pipeline.images.png_chunks import SIGNATURE, Chunk, pack_pixels, read_chunks, write_chunks
from anonymizer.pipeline.limits import Limits

__all__ = ["check_png", "encode_png", "read_png", "write_png"]

#: Colour types, and the numbers of bits and channels that they may have.
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
#: Chunks that are copied unchanged, and the lengths that they may have.
_COPIED = {b"gAMA": {4}, b"cHRM": {32}, b"sRGB": {1}, b"cICP": {4}, b"sBIT": {1, 2, 3, 4}, b"bKGD": {1, 2, 6}}
_ICC_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class _PngDetails:
    """What the writer needs.

    Attributes:
        colour_type, bits: of the header.
        copied: chunks that are written unchanged.
        transparency: content of tRNS.
        plte: content of PLTE, the palette.
        key: the stored value, 1 or 3 numbers, that is shown as transparent in a greyscale or RGB image.
    """

    colour_type: int
    bits: int
    copied: list[Chunk]
    transparency: bytes | None
    plte: bytes | None
    key: tuple[int, ...] | None


def read_png(data: bytes, limits: Limits) -> DecodedImage:
    """Decode a PNG file.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Returns:
        The image as stored: (h, w) grey or (h, w, 3) RGB, with its alpha or palette, not yet turned upright. It is
        uint16 for 16 bits, otherwise uint8 with the full range 0..255.

    Raises:
        BrokenMedia: the file ends early, a checksum is wrong, or it cannot be decoded.
        OutOfMemory: there is too little memory to decode the image.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("PNG"):
        chunks = _check(data, limits)
        first = dict(reversed(chunks))
        bits, colour_type = first[b"IHDR"][8:10]
        needed = [chunk for chunk in chunks if chunk[0] in (b"IHDR", b"PLTE", b"IDAT")]
        plane = _decode(needed, first[b"IHDR"])
        decoded = _to_decoded_image(plane, first, colour_type, bits)
        return _with_metadata(decoded, chunks, first)


def check_png(data: bytes, limits: Limits) -> None:
    """Check the chunks of a PNG file without decoding.

    Args:
        data: the file's bytes.
        limits: the largest image that is accepted; `megapixels` is used.

    Raises:
        BrokenMedia: the file ends early, or its header or a checksum is wrong.
        TooLarge: the header states more pixels than the limit.
        UnsupportedMedia: it is animated.
    """
    with translate_errors("PNG"):
        _check(data, limits)


def _check(data: bytes, limits: Limits) -> list[Chunk]:
    header = data[len(SIGNATURE) :]
    if len(header) < 25 or header[4:8] != b"IHDR":
        raise BrokenMedia("The PNG picture is broken: it does not begin with a header.")
    width, height, bits, colour_type = struct.unpack_from(">LLBB", header, 8)
    check_size(width, height, limits)
    if bits not in _DEPTHS.get(colour_type, ()):
        raise BrokenMedia(f"The PNG picture is broken: {bits} bits of colour type {colour_type} do not exist.")
    chunks = list(read_chunks(data))
    if b"acTL" in dict(chunks):
        raise UnsupportedMedia("Animated PNG pictures are not supported: send a still picture or a video.")
    return chunks


def _decode(needed: list[Chunk], header: bytes) -> Samples:
    """(h, w) or (h, w, channels) as stored; for a palette the indices."""
    width, height, bits, colour_type = struct.unpack_from(">LLBB", header)
    bare = write_chunks(needed)
    if bits == 16:
        _check_rows(needed, header)
        found = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None or found.dtype != np.uint16 or found.shape[:2] != (height, width):
            raise BrokenMedia("The PNG picture is broken: it cannot be decoded.")
        # OpenCV gives BGR(A), and greyscale with alpha as four channels.
        order = {_GREY: [0], _GREY_ALPHA: [0, 3], _RGB: [2, 1, 0], _RGBA: [2, 1, 0, 3]}[colour_type]
        return contiguous_samples(found[..., order] if found.ndim == 3 else found)
    image = PngImageFile(io.BytesIO(bare))
    image.load()
    plane = np.asarray(image)
    if header[12] or not plane[-1].any():
        # Pillow fills missing rows with zeros, and leaves no row but the last ones out.
        _check_rows(needed, header)
    if plane.dtype == np.bool_:
        return plane.astype(np.uint8) * 255
    return plane


def _check_rows(needed: list[Chunk], header: bytes) -> None:
    """Refuse a file with too few rows, which neither Pillow nor OpenCV reports."""
    width, height, bits, colour_type = struct.unpack_from(">LLBB", header)
    contents = (content for name, content in needed if name == b"IDAT")
    if not has_all_rows(contents, (width, height), bits * _CHANNELS[colour_type], interlaced=header[12] == 1):
        raise BrokenMedia("The PNG picture is broken: its data end before the picture is complete.")


def _to_decoded_image(plane: Samples, first: dict[bytes, bytes], colour_type: int, bits: int) -> DecodedImage:
    transparency = first.get(b"tRNS")
    alpha: Samples | None = None
    indices = palette = key = None
    samples = plane
    if colour_type == _PALETTE:
        palette = _palette(first.get(b"PLTE", b""), transparency or b"")
        if plane.max(initial=0) >= len(palette):
            raise BrokenMedia("The PNG picture is broken: it uses colours that its palette does not have.")
        indices = plane.astype(np.uint8)
        samples = np.ascontiguousarray(palette[indices, :3])
    elif colour_type in (_GREY_ALPHA, _RGBA):
        alpha = contiguous_samples(plane[..., -1])
        samples = contiguous_samples(plane[..., 0] if colour_type == _GREY_ALPHA else plane[..., :3])
    elif transparency is not None and len(transparency) == (2 if colour_type == _GREY else 6):
        # of higher bits, most readers take only those that a sample has
        key = tuple(int(v) % 2**bits for v in np.frombuffer(transparency, ">u2"))
        levels = _to_8_bits(np.array(key), bits)
        alpha = np.where(plane == levels[0] if plane.ndim == 2 else (plane == levels).all(axis=2), 0, 255)
        alpha = alpha.astype(np.uint8)
    return DecodedImage(
        samples=samples,
        alpha=alpha,
        indices=indices,
        palette=palette,
        details=_PngDetails(
            colour_type,
            bits,
            [(name, first[name]) for name, lengths in _COPIED.items() if len(first.get(name, b"")) in lengths],
            transparency if colour_type == _PALETTE or key is not None else None,
            first.get(b"PLTE") if colour_type == _PALETTE else None,
            key,
        ),
    )


def _with_metadata(decoded: DecodedImage, chunks: list[Chunk], first: dict[bytes, bytes]) -> DecodedImage:
    """The image with EXIF, of its chunk or else of a raw profile in a text; colour profile, density and panorama."""
    exif = read_exif(first.get(b"eXIf", b""))
    if not exif.tags:
        exif = read_exif(raw_exif(chunks) or b"")
    return replace(
        decoded,
        orientation=exif.orientation,
        exif=exif.with_size(decoded.size_wh),
        icc=_icc(first.get(b"iCCP")),
        density=_density(first.get(b"pHYs")),
        panorama=read_panorama(xmp_packet(chunks)),
    )


def _to_8_bits(values: NDArray[np.int_], bits: int) -> NDArray[np.int_]:
    """Values of 1, 2 or 4 bits as the decoder scales them to 8 bits."""
    return values * (255 // (2**bits - 1)) if bits < 8 else values


def _palette(plte: bytes, transparency: bytes) -> NDArray[np.uint8]:
    if not plte or len(plte) % 3 or len(plte) > 768:
        raise BrokenMedia("The PNG picture is broken: its palette is missing or has a wrong length.")
    colours = np.frombuffer(plte, np.uint8).reshape(-1, 3)
    alphas = np.full(len(colours), 255, np.uint8)
    known = np.frombuffer(transparency, np.uint8)[: len(colours)]
    alphas[: len(known)] = known
    return np.column_stack([colours, alphas])


def _icc(content: bytes | None) -> bytes | None:
    name, _, rest = (content or b"").partition(b"\0")
    if not name or rest[:1] != b"\0":
        return None
    try:
        return scrub_icc_profile(zlib.decompressobj().decompress(rest[1:], _ICC_BYTES))
    except zlib.error:
        return None


def _density(content: bytes | None) -> Density | None:
    if content is None or len(content) != 9:
        return None
    x, y, unit = struct.unpack(">LLB", content)
    return Density(Fraction(x), Fraction(y), unit)


def write_png(decoded: DecodedImage, encoding: Encoding) -> bytes:
    """Encode with the colour type, the bit depth and the palette of the source.

    Args:
        decoded: an image that `read_png` returned; its `samples` may have other values.
        encoding: `compress_level` is used, 0..9; default: 5.

    Returns:
        The file's bytes.
    """
    details: _PngDetails = decoded.details
    width, height = decoded.size_wh
    level = encoding.compress_level
    plte, transparency = details.plte, details.transparency
    if details.colour_type == _PALETTE:
        indices = nearest_palette_indices(decoded)
        data = [(b"IDAT", pack_pixels(indices, bits=details.bits, compress_level=level))]
        if decoded.redacted is not None:
            plte, transparency = _without_unused(indices, plte or b"", transparency)
    else:
        plane = _stored_plane(decoded, details)
        if details.bits == 8:
            data = [chunk for chunk in read_chunks(_pillow_png(plane, level)) if chunk[0] == b"IDAT"]
        else:
            data = [(b"IDAT", pack_pixels(plane, bits=details.bits, compress_level=level))]
    header = struct.pack(">LLBBBBB", width, height, details.bits, details.colour_type, 0, 0, 0)
    before = [(name, content) for name, content in details.copied if name != b"bKGD"]
    if decoded.icc is not None:
        before.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(decoded.icc)))
    if decoded.density is not None:
        before.append(
            (b"pHYs", struct.pack(">LLB", int(decoded.density.x), int(decoded.density.y), decoded.density.unit))
        )
    if exif := decoded.exif.to_bytes():
        before.append((b"eXIf", exif))
    if packet := write_panorama(decoded.panorama):
        before.append(xmp_text(packet))
    palette = [(b"PLTE", plte)] if plte is not None else []
    after = [] if transparency is None else [(b"tRNS", transparency)]
    after += [(name, content) for name, content in details.copied if name == b"bKGD"]
    return write_chunks([(b"IHDR", header), *before, *palette, *after, *data])


def _without_unused(indices: NDArray[np.uint8], plte: bytes, transparency: bytes | None) -> tuple[bytes, bytes | None]:
    """The contents of PLTE and tRNS in which the colours that no pixel uses are black and opaque."""
    colours = np.frombuffer(plte, np.uint8).reshape(-1, 3).copy()
    unused = is_unused(indices, len(colours))
    colours[unused] = 0
    if transparency is None:
        return colours.tobytes(), None
    alphas = np.frombuffer(transparency, np.uint8)[: len(colours)].copy()
    alphas[unused[: len(alphas)]] = 255
    return colours.tobytes(), alphas.tobytes()


def _stored_plane(decoded: DecodedImage, details: _PngDetails) -> Samples:
    """(h, w) or (h, w, channels) values to store, with alpha or with the value that is shown as transparent."""
    samples = decoded.samples
    if details.bits < 8:
        samples = ((samples.astype(np.uint16) * (2**details.bits - 1) + 127) // 255).astype(np.uint8)
    if details.key is not None and decoded.alpha is not None:
        # a redacted alpha has values in between
        return _apply_transparent_key(samples, decoded.alpha < 128, details.key, 2**details.bits - 1)
    if decoded.alpha is not None:
        return contiguous_samples(np.dstack([samples, decoded.alpha]))
    return samples


def _apply_transparent_key(samples: Samples, clear: NDArray[np.bool_], key: tuple[int, ...], top: int) -> Samples:
    """Give transparent pixels the key value. Opaque pixels that happen to have it get the next value."""
    samples = samples.copy()
    same = samples == key[0] if samples.ndim == 2 else (samples == np.array(key)).all(axis=2)
    beside = (*key[:-1], key[-1] - 1 if key[-1] == top else key[-1] + 1)
    for selected, value in ((same & ~clear, beside), (clear, key)):
        samples[selected] = value[0] if samples.ndim == 2 else value
    return samples


def _pillow_png(plane: Samples, compress_level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, "PNG", compress_level=compress_level)
    return out.getvalue()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an array as PNG. It is made for masks, whose runs of equal pixels are written fast.

    Args:
        pixels: (h, w) grey or (h, w, 3) RGB, uint8.

    Returns:
        The file's bytes, without metadata.

    Raises:
        ValueError: the array has another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)):
        raise ValueError(f"pixels must be (h, w) or (h, w, 3) uint8, not {pixels.shape} {pixels.dtype}")
    # Rows that equal the one above become zeros, which run-length coding shrinks. The file is smaller than at level 5,
    # in a third of the time.
    flags = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    _, content = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1], flags)
    return content.tobytes()
