"""Each place of a file that may hold another picture or a name: with no choice of metadata does it come out.

The places of `test_side_doors` are tried with all choices here, and further ones are added.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.images.exif_tags import Entry, pack_directory, read_directory, read_header
from anonymizer.pipeline.images.io import encode_picture, load_picture
from tests.pipeline.images import test_side_doors as doors
from tests.pipeline.images.metadata.test_icc import STANDARD, profile_of
from tests.pipeline.images.metadata.test_kept_metadata import block
from tests.pipeline.images.test_large_heif import rgba
from tests.pipeline.images.test_side_doors import (
    NASTY_EXIF,
    PIXELS,
    PLANTED,
    SECRET,
    SIGNS,
    box,
    heic_with,
    jpeg,
    png_with,
    saved,
    segment,
    webp_with,
    with_depth_reference,
)

#: A picture that looks like no other: an inverted copy of the first, as a JPEG of its own.
OTHER = Image.fromarray(255 - PIXELS)
PREVIEW = doors.SECRET + base64.b64encode(SECRET)
IN_JSON = b'{"preview": "' + base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(60)) + b'", "of": "SECRET"}'


def icc_with_private_tags() -> bytes:
    return profile_of({**STANDARD, b"prvw": b"data" + bytes(4) + SECRET}, gap=SECRET, trailer=SECRET)


def between_scans() -> bytes:
    """A progressive JPEG with an application segment and a comment before its second scan."""
    data = saved("JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    at = data.rindex(b"\xff\xc4", 0, second) if b"\xff\xc4" in data[second - 60 : second] else second
    return data[:at] + segment(0xE1, b"Exif\0\0" + NASTY_EXIF) + segment(0xFE, SECRET) + data[at:]


def of_other(file_format: str) -> bytes:
    out = io.BytesIO()
    OTHER.save(out, file_format)
    return out.getvalue() + SECRET


def tiff_with(compression: str, tags: dict[int, Entry]) -> bytes:
    data = saved("TIFF", compression=compression)
    order, at = read_header(data)
    page, _ = read_directory(data, order, at)
    at = len(data) + len(data) % 2
    directory = pack_directory({**page, **tags}, order, at=at)
    return data[:4] + struct.pack(order + "L", at) + data[8:] + bytes(len(data) % 2) + directory


def bytes_entry(value: bytes, kind: int = 7) -> Entry:
    return Entry(kind, len(value), value)


def tiff_with_a_comment_in_its_strip() -> bytes:
    data = bytearray(tiff_with("jpeg", {}))
    order, at = read_header(bytes(data))
    page, _ = read_directory(bytes(data), order, at)
    [start] = struct.unpack(order + "L", page[0x0111].value)
    [length] = struct.unpack(order + "L", page[0x0117].value)
    strip = bytes(data[start : start + length])
    strip = strip[:2] + segment(0xFE, SECRET) + segment(0xE0, b"JFXX\0\x10" + SECRET) + strip[2:]
    at = len(data) + len(data) % 2
    place = bytes(len(data) % 2) + strip
    page[0x0111], page[0x0117] = (
        Entry(4, 1, struct.pack(order + "L", at)),
        Entry(4, 1, struct.pack(order + "L", len(strip))),
    )
    body = bytes(data) + place
    body += bytes(len(body) % 2)
    return body[:4] + struct.pack(order + "L", len(body)) + body[8:] + pack_directory({**page}, order, at=len(body))


def bmp_with_a_profile(kind: int, profile: bytes) -> bytes:
    """A BMP with the header of version 5, and a profile, or the path of one, after its pixels."""
    rows = PIXELS[::-1, :, ::-1].tobytes()
    header = struct.pack("<LllHHLLllLL", 124, 64, 48, 1, 24, 0, len(rows), 0, 0, 0, 0)
    header += bytes(16) + struct.pack("<L", kind) + bytes(48)
    header += struct.pack("<LLLL", 4, 124 + len(rows), len(profile), 0)
    body = header + rows + profile
    return b"BM" + struct.pack("<LHHL", 14 + len(body), 0, 0, 14 + 124) + body


def chunk_of_frame() -> tuple[bytes, bytes]:
    """A second frame of an animation, in a file that does not say that it is one."""
    rows = b"".join(b"\0" + row.tobytes() for row in 255 - PIXELS)
    return b"fdAT", struct.pack(">L", 1) + zlib.compress(rows) + SECRET


RAW_PROFILE = b"\nexif\n%8d\n" % len(NASTY_EXIF) + NASTY_EXIF.hex().encode()
COMMENT_EXIF = block({0x8769: {0x9286: bytes_entry(b"ASCII\0\0\0" + IN_JSON)}, 0x010E: bytes_entry(IN_JSON + b"\0", 2)})
BLOBS_EXIF = block(
    {0x8769: {0x9290: bytes_entry(SECRET, 2), 0xA301: bytes_entry(SECRET * 20), 0xA302: bytes_entry(SECRET)}}
)
EXTRA = {
    "jpeg-between-scans": between_scans(),
    "jpeg-icc": saved("JPEG", icc_profile=icc_with_private_tags()),
    "jpeg-exif-json": jpeg(segment(0xE1, b"Exif\0\0" + COMMENT_EXIF)),
    "jpeg-exif-blobs": jpeg(segment(0xE1, b"Exif\0\0" + BLOBS_EXIF)),
    "jpeg-second-exif": jpeg(*[segment(0xE1, b"Exif\0\0" + NASTY_EXIF)] * 2),
    "jpeg-jumbf": jpeg(segment(0xEB, b"JP\0\1" + bytes(4) + box(b"jumb", SECRET))),
    "jpeg-iso-gain-map": jpeg(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + SECRET), trailer=of_other("JPEG")),
    "jpeg-garbage": jpeg(segment(0xFE, b"comment") + b"SECRET without a marker"),
    "jpeg-second-picture": jpeg(trailer=of_other("JPEG")),
    "png-frame": png_with(chunk_of_frame()),
    "png-icc": png_with((b"iCCP", b"SECRET\0\0" + zlib.compress(icc_with_private_tags()))),
    "png-exif-json": png_with((b"eXIf", COMMENT_EXIF)),
    "png-raw-profile": png_with(
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW_PROFILE)), trailer=SECRET
    ),
    "png-second-picture": png_with(trailer=of_other("PNG")),
    "webp-icc": webp_with((b"ICCP", icc_with_private_tags())),
    "webp-second-picture": webp_with(trailer=of_other("WEBP")),
    "webp-exif-json": webp_with((b"EXIF", COMMENT_EXIF)),
    "tiff-icc": tiff_with("raw", {0x8773: bytes_entry(icc_with_private_tags())}),
    "tiff-gdal": tiff_with("tiff_lzw", {42112: bytes_entry(b"<GDALMetadata>SECRET</GDALMetadata>\0", 2)}),
    "tiff-texts": tiff_with("raw", dict.fromkeys((0x010D, 0x010E, 0x011D, 0x014D, 0x0151), bytes_entry(PREVIEW, 2))),
    "tiff-comment-in-strip": tiff_with_a_comment_in_its_strip(),
    "tiff-trailer": tiff_with("packbits", {}) + SECRET,
    "bmp-linked-profile": bmp_with_a_profile(0x4C494E4B, b"C:\\SECRET\\profile.icc\0"),
    "bmp-profile": bmp_with_a_profile(0x4D424544, icc_with_private_tags()),
    "heif-icc": heic_with(icc_profile=icc_with_private_tags()),
    "heif-exif-json": heic_with(exif=b"Exif\0\0" + COMMENT_EXIF),
    "heif-boxes": heic_with() + box(b"uuid", bytes(16) + SECRET) + box(b"skip", of_other("JPEG")),
    "heif-avif-icc": saved("AVIF", icc_profile=icc_with_private_tags()),
    "heif-avif-boxes": saved("AVIF") + box(b"uuid", bytes(16) + SECRET) + box(b"idat", SECRET),
}  # fmt: skip
ALL = PLANTED | EXTRA


@pytest.mark.parametrize("keep", ["all", "technical", "none"])
@pytest.mark.parametrize("name", ALL)
def test_nothing_comes_out_by_any_door(name: str, keep: str) -> None:
    data = ALL[name]
    assert any(sign in data for sign in SIGNS) or name.endswith(("icc", "bmp-profile", "exif-json"))
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels, keep_metadata=keep)

    texts = (*SIGNS, b"SECRET".hex().encode(), base64.b64encode(SECRET)[:16], "SECRET".encode("utf-16-le"), b"/9j/4AAQ")
    assert not [sign for sign in texts if sign in out]
    assert out.count(b"\xff\xd8\xff") == (1 if name.startswith("jpeg") else 0)
    assert load_picture(out).size_hw == (48, 64)
    assert np.abs(load_picture(out).pixels.astype(int) - picture.pixels.astype(int)).mean() < 12


@pytest.mark.parametrize("keep", ["all", "technical", "none"])
@pytest.mark.parametrize("kind", ["urn:com:apple:photo:2020:aux:hdrgainmap", "urn:mpeg:hevc:2015:auxid:2"])
def test_auxiliary_pictures_of_heic_stay_behind(kind: str, keep: str) -> None:
    file = pillow_heif.HeifFile()
    for pixels in (PIXELS, 255 - PIXELS):
        file.add_frombytes("RGB", (64, 48), pixels.tobytes())
    made = io.BytesIO()
    file.save(made, quality=90)
    name = b"urn:mpeg:hevc:2015:auxid:2"
    data = with_depth_reference(made.getvalue())
    if kind.encode() != name:
        # the name of another length would move all boxes, so its beginning is used
        data = data.replace(name, kind.encode()[: len(name)])
    picture = load_picture(data)

    after = pillow_heif.open_heif(encode_picture(picture, picture.pixels, keep_metadata=keep))

    assert (len(after), after.info["aux"], after.info["depth_images"], after.info["thumbnails"]) == (1, {}, [], [])


def test_alpha_is_the_only_auxiliary_picture_that_stays() -> None:
    made = io.BytesIO()
    pillow_heif.encode("RGBA", (64, 48), rgba().tobytes(), made)
    picture = load_picture(made.getvalue())

    assert picture.alpha is None or picture.alpha.shape == (48, 64)
    assert load_picture(encode_picture(picture, picture.pixels)).size_hw == (48, 64)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "AVIF"])
def test_further_frames_are_refused(file_format: str) -> None:
    with pytest.raises(UnsupportedMedia):
        load_picture(saved(file_format, save_all=True, append_images=[OTHER]))
