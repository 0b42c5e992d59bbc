"""Read images and write them back in the same format, mode, bit depth and orientation.

Nothing of the original leaks through metadata. Only EXIF and the ICC profile (lists of known tags), the density, the
place on the map (GeoTIFF) and the properties of a panorama are kept. XMP, IPTC, comments and texts may hold previews,
depth maps and gain maps, so all others are dropped. So are thumbnails, MakerNote, further images, and any data after
the end of the image. The option `keep_metadata` chooses whether names and texts are kept too, or nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from anonymizer.pipeline.errors import TooLarge, UnsupportedMedia
from anonymizer.pipeline.files.sums import FileSum
from anonymizer.pipeline.images.bmp import check_bmp, read_bmp, write_bmp
from anonymizer.pipeline.images.decoded import DecodedImage, Encoding, Samples, translate_errors
from anonymizer.pipeline.images.heif import check_avif, check_heic, read_avif, read_heic, write_avif, write_heic
from anonymizer.pipeline.images.jpeg import check_jpeg, read_jpeg, write_jpeg
from anonymizer.pipeline.images.metadata.kept_tags import KeepMetadata
from anonymizer.pipeline.images.png import check_png, encode_png, read_png, write_png
from anonymizer.pipeline.images.tiff import check_tiff, read_tiff, write_tiff
from anonymizer.pipeline.images.webp import check_webp, read_webp, write_webp
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import MediaInfo, MediaKind, open_file, sniff
from anonymizer.pipeline.orientation import stored, upright

__all__ = [
    "MediaInfo",
    "MediaKind",
    "Picture",
    "check_header",
    "encode_picture",
    "encode_png",
    "load_image",
    "load_picture",
    "sniff",
]


#: Opaque alpha, by bytes of a value. HEIC of 10 bits has zeros in the lower 6 of 16.
_OPAQUE = {1: 0xFF, 2: 0xFFC0}
#: Cameras measure 10 to 14 bits. If no value in a file of 16 bits needs more, the values were not scaled up.
_CAMERA_BITS = 14


@dataclass(frozen=True, slots=True)
class _Codec:
    check: Callable[[bytes, Limits], None]
    read: Callable[[bytes, Limits], DecodedImage]
    write: Callable[[DecodedImage, Encoding], bytes]


_CODECS = {
    "jpeg": _Codec(check_jpeg, read_jpeg, write_jpeg),
    "png": _Codec(check_png, read_png, write_png),
    "webp": _Codec(check_webp, read_webp, write_webp),
    "tiff": _Codec(check_tiff, read_tiff, write_tiff),
    "bmp": _Codec(check_bmp, read_bmp, write_bmp),
    "heic": _Codec(check_heic, read_heic, write_heic),
    "avif": _Codec(check_avif, read_avif, write_avif),
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Picture:
    """A decoded image, upright, with everything that is needed to write it back.

    Attributes:
        info: format and kind of the file.
        pixels: (h, w) grey, (h, w, 3) RGB or (h, w, 4) CMYK with 0 = no ink; uint8 or uint16. It is read-only: copy it
            before you draw. Alpha is not part of it.
        name: what the caller calls the image; default: no name.
        in_memory: whether it was made from an array or a PIL image, so that it has no format. `info` is then PNG.
        source: checksum and size of the file; None for an image in memory.
    """

    info: MediaInfo
    pixels: Samples
    name: str | None = None
    in_memory: bool = False
    source: FileSum | None = None
    _decoded: DecodedImage = field(repr=False, kw_only=True)

    def __repr__(self) -> str:
        """The name, the size and the format, without the pixels."""
        height, width = self.size_hw
        form = "in memory" if self.in_memory else self.info.format
        return f"Picture({self.name or 'without a name'}, {width} x {height}, {self.pixels.dtype}, {form})"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the upright image in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def alpha(self) -> Samples | None:
        """Alpha, (h, w) uint8 or uint16, upright: 0 is transparent, the highest value opaque.

        None if all pixels are opaque. It may have another dtype than the pixels.
        """
        decoded = self._decoded
        alpha = decoded.alpha
        if decoded.palette is not None and decoded.indices is not None and decoded.palette[:, 3].min() < 255:
            alpha = decoded.palette[decoded.indices, 3]
        if alpha is None or (alpha.min() >= _OPAQUE[alpha.itemsize] and alpha.min() == alpha.max()):
            return None
        return cast("Samples", upright(alpha, decoded.orientation))

    @property
    def premultiplied(self) -> bool:
        """Whether the colours are multiplied by alpha already."""
        return self._decoded.premultiplied

    @property
    def has_palette(self) -> bool:
        """Whether the file stores indices into a palette."""
        return self._decoded.indices is not None

    @property
    def spare_bits(self) -> int:
        """How many upper bits of 16 no value needs, at most 8; 0 if it is less than two, or for 8 bits."""
        bits = int(self.pixels.max()).bit_length() if self.pixels.dtype == np.uint16 else 16
        return 0 if bits > _CAMERA_BITS else min(16 - bits, 8)

    def rgb(self, pixels: Samples | None = None) -> NDArray[np.uint8]:
        """The image as detectors need it: (h, w, 3) uint8 RGB, upright.

        Of 16 bits the upper 8 are taken. If all values fit into 14 bits or less, as those of many cameras do, the upper
        8 of these are taken. ICC profiles are not applied, and alpha is ignored.

        Args:
            pixels: others of the same shape and dtype, shown as bright as those of the image; default: `self.pixels`.
        """
        return _to_rgb(self.pixels if pixels is None else pixels, 8 - self.spare_bits)

    def brightened(self) -> NDArray[np.uint8] | None:
        """The image as `rgb` shows it, with the brightest 2 % of values clipped; None if that is the same.

        A few hot pixels, or a printed text, keep `rgb` from showing 12-bit values in 16 bits as bright as they are.
        """
        if self.pixels.dtype != np.uint16:
            return None
        # every fourth row and column is enough to know the distribution
        bits = int(np.percentile(self.pixels[::4, ::4], 98)).bit_length()
        if bits > _CAMERA_BITS or bits >= int(self.pixels.max()).bit_length():
            return None
        return _to_rgb(self.pixels, max(bits - 8, 0))


def _to_rgb(pixels: Samples, shift: int) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB of pixels; of 16 bits, the 8 above the lowest `shift` ones, clipped."""
    if pixels.dtype == np.uint16:
        pixels = np.minimum(pixels >> shift, 255).astype(np.uint8)
    if pixels.ndim == 2:
        return np.dstack([pixels] * 3)
    if pixels.shape[2] == 4:
        ink = 255 - pixels.astype(np.uint16)
        return ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
    return np.array(pixels, np.uint8)


def load_picture(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    limits: Limits = Limits(),  # noqa: B008
    name: str | None = None,
) -> Picture:
    """Read and decode an image.

    Args:
        source: a path, the file's bytes, or an open binary file.
        limits: most bytes (checked before the file is read) and most pixels (checked before it is decoded).
        name: what to call the image, default: the name of the path.

    Returns:
        The image, upright.

    Raises:
        SourceNotFound: there is no such file.
        BrokenMedia: the file is empty, ends early or cannot be decoded.
        OutOfMemory: there is too little memory to decode it.
        TooLarge: it has more bytes or pixels than the limits allow.
        UnsupportedMedia: it is not an image of a supported format, or it is animated or has several pages.

    Examples:
        >>> picture = load_picture("street.jpg")  # doctest: +SKIP
        >>> picture.pixels.shape  # doctest: +SKIP
        (1080, 1920, 3)
    """
    data = _read(source, limits)
    if name is None and isinstance(source, str | os.PathLike):
        name = Path(source).name
    info = _image_info(data)
    decoded = _CODECS[info.format].read(data, limits)
    with translate_errors(info.format.upper()):
        pixels = upright(decoded.samples, decoded.orientation)
    pixels.flags.writeable = False
    # Writers get the new pixels, so the stored ones need not be kept.
    without_pixels = replace(decoded, samples=pixels[:0])
    return Picture(info, cast("Samples", pixels), name, source=FileSum.of_bytes(data), _decoded=without_pixels)


def load_image(source: str | os.PathLike[str] | bytes | BinaryIO) -> NDArray[np.uint8]:
    """Read an image as an array.

    Args:
        source: a path, the file's bytes, or an open binary file.

    Returns:
        (h, w, 3) uint8 RGB, upright, as `Picture.rgb` gives it.

    Raises:
        SourceNotFound, BrokenMedia, OutOfMemory, TooLarge, UnsupportedMedia: as `load_picture` does.
    """
    return load_picture(source).rgb()


def check_header(source: str | os.PathLike[str] | bytes | BinaryIO, *, limits: Limits = Limits()) -> MediaInfo:  # noqa: B008
    """Check an image file without decoding it: format, bytes, pixels, pages, and whether the file ends early.

    Args:
        source: a path, the file's bytes, or an open binary file.
        limits: most bytes and most pixels.

    Returns:
        Format and kind of the file.

    Raises:
        SourceNotFound, BrokenMedia, TooLarge, UnsupportedMedia: as `load_picture` does.
    """
    data = _read(source, limits)
    info = _image_info(data)
    _CODECS[info.format].check(data, limits)
    return info


def _image_info(data: bytes) -> MediaInfo:
    info = sniff(data)
    if info.kind is not MediaKind.IMAGE:
        raise UnsupportedMedia(f"The file is a video ({info.format}), not a picture.")
    return info


def _read(source: str | os.PathLike[str] | bytes | BinaryIO, limits: Limits) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(len(source), limits)
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        with open_file(source) as file:
            return _read(file, limits)
    # One byte more than the limit shows that the file is too long, even if a stream does not know its length.
    data = source.read(limits.bytes + 1)
    _check_bytes(len(data), limits)
    return data


def _check_bytes(count: int, limits: Limits) -> None:
    if count > limits.bytes:
        raise TooLarge(f"The file has more bytes than the limit of {limits.bytes / 2**20:g} MiB.")


def encode_picture(
    picture: Picture,
    pixels: Samples,
    *,
    alpha: Samples | None = None,
    redacted: NDArray[np.bool_] | None = None,
    quality: int | None = None,
    compress_level: int = 5,
    keep_metadata: KeepMetadata | str = KeepMetadata.TECHNICAL,
    strip_metadata: bool = False,
) -> bytes:
    """Write an image with other pixels, in the format of the file that it came from.

    Args:
        picture: from `load_picture`.
        pixels: upright, of the shape and dtype of `picture.pixels`.
        alpha: upright, of the shape and dtype of `picture.alpha`; default: alpha stays as it is.
        redacted: (h, w) bool, upright. There a palette's index is chosen anew even if the colour is the same, and
            colours of the palette that no pixel uses any more become black. Default: such colours stay.
        quality: 1..100, for JPEG, lossy WebP, HEIC and AVIF. Default: JPEG keeps the source's quantisation tables; the
            others, which do not tell their quality, get 90.
        compress_level: of PNG, 0..9, default: 5.
        keep_metadata: `technical` keeps camera, exposure, time, position and orientation; `all` keeps names and texts
            too; `none` drops EXIF and stores the image upright. Default: technical. ICC profile and density stay.
        strip_metadata: true is `keep_metadata="none"`, default: False.

    Returns:
        The file's bytes.

    Raises:
        ValueError: the pixels have another shape or dtype, or `keep_metadata` is none of these.

    Examples:
        >>> picture = load_picture("street.jpg")  # doctest: +SKIP
        >>> data = encode_picture(picture, redacted_pixels)  # doctest: +SKIP
    """
    if pixels.shape != picture.pixels.shape or pixels.dtype != picture.pixels.dtype:
        raise ValueError(
            f"pixels must be {picture.pixels.shape} {picture.pixels.dtype}, not {pixels.shape} {pixels.dtype}"
        )
    source = picture._decoded
    decoded = replace(source, samples=cast("Samples", stored(pixels, source.orientation)))
    if alpha is not None:
        decoded = replace(decoded, alpha=cast("Samples", stored(alpha, source.orientation)))
    if redacted is not None:
        decoded = replace(decoded, redacted=stored(redacted, source.orientation))
    kept = KeepMetadata.NONE if strip_metadata else KeepMetadata(keep_metadata)
    if kept is KeepMetadata.NONE:
        decoded = decoded.without_exif()
    elif kept is KeepMetadata.TECHNICAL:
        decoded = replace(decoded, exif=decoded.exif.technical())
    return _CODECS[picture.info.format].write(decoded, Encoding(quality, compress_level))
