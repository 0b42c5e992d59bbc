"""Nothing original leaves by the side door: a secret is planted in each place, and looked for in the output's bytes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.images.io import encode_picture, load_picture

#: What a preview holds: the bytes of a small JPEG with a sign in it.
SECRET = b"\xff\xd8\xff\xe0\x00\x10JFIF\0SECRET-PREVIEW-OF-A-FACE\xff\xd9"
SIGNS = (b"SECRET", b"PREVIEW", zlib.compress(SECRET)[:12])
PIXELS = np.random.default_rng(0).integers(100, 156, (48, 64, 3)).astype(np.uint8)


def saved(file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, file_format, **options)
    return out.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def jpeg(*segments: bytes, trailer: bytes = b"") -> bytes:
    data = saved("JPEG", quality=90)
    return data[:2] + b"".join(segments) + data[2:] + trailer


def entry(tag: int, kind: int, count: int, value: int, order: str = "<") -> bytes:
    return struct.pack(order + "HHLL", tag, kind, count, value)


def exif_with(tags: list[tuple[int, int, bytes]], *, thumbnail: bytes = b"", slack: bytes = b"") -> bytes:
    """An EXIF block: tags of IFD0 or (from 0x9000) of the EXIF directory, IFD1 with a thumbnail, and unused bytes."""
    main = sorted(t for t in tags if t[0] < 0x8769)
    sub = sorted(t for t in tags if t[0] >= 0x8769)
    sub_at = 8 + 2 + 12 * (len(main) + 1) + 4
    ifd1_at = sub_at + 2 + 12 * len(sub) + 4
    values_at = ifd1_at + 2 + 24 + 4
    values = b""

    def rows(group: list[tuple[int, int, bytes]]) -> bytes:
        nonlocal values
        out = b""
        for tag, kind, value in group:
            out += entry(tag, kind, len(value), values_at + len(values))
            values += value + b"\0" * (len(value) % 2)
        return out

    head = struct.pack("<H", len(main) + 1) + rows(main) + entry(0x8769, 4, 1, sub_at) + struct.pack("<L", ifd1_at)
    middle = struct.pack("<H", len(sub)) + rows(sub) + bytes(4)
    place = values_at + len(values)
    last = struct.pack("<H", 2) + entry(0x201, 4, 1, place) + entry(0x202, 4, 1, len(thumbnail)) + bytes(4)
    return b"II*\0\x08\0\0\0" + head + middle + last + values + thumbnail + slack


NASTY_EXIF = exif_with(
    [
        (0x010F, 2, b"Maker kept\0"),
        (0x010E, 2, b"caption " + SECRET + b"\0"),
        (0x02BC, 1, b"<x:xmpmeta>SECRET</x:xmpmeta>"),
        (0x014A, 7, SECRET),
        (0x8649, 7, b"8BIM" + SECRET),
        (0x83BB, 7, b"SECRET iptc"),
        (0x9003, 2, b"2024:01:02 03:04:05\0"),
        (0x927C, 7, b"Apple iOS\0" + b"SECRET" * 3),
        (0x9286, 7, bytes(8) + SECRET),
        (0xA40B, 7, b"SECRET settings"),
        (0xC4A5, 7, b"PrintIM SECRET"),
        (0xEA1C, 7, b"SECRET padding"),
    ],
    thumbnail=SECRET,
    slack=b"SECRET slack",
)
XMP_SIGN = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_SIGN = b"http://ns.adobe.com/xmp/extension/\0"
MOTION_PHOTO = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0\0\0\x20mdat" + b"SECRET motion photo"
MPF = b"MPF\0II*\0\x08\0\0\0\x01\0" + entry(0xB001, 4, 1, 2) + bytes(4)
GAIN_MAP = b'<rdf:li Container:Item Item:Semantic="GainMap" SECRET/>'

JPEGS = {
    "exif": jpeg(segment(0xE1, b"Exif\0\0" + NASTY_EXIF)),
    "mpf": jpeg(segment(0xE2, MPF), trailer=SECRET + saved("JPEG")),
    "xmp-depth": jpeg(segment(0xE1, XMP_SIGN + b'<rdf GDepth:Data="SECRET" GImage:Data="SECRET"/>')),
    "xmp-container": jpeg(segment(0xE1, XMP_SIGN + GAIN_MAP), trailer=SECRET),
    "xmp-extended": jpeg(segment(0xE1, EXTENDED_SIGN + b"0" * 32 + bytes(8) + b"SECRET depth")),
    "motion-photo": jpeg(trailer=MOTION_PHOTO),
    "samsung-trailer": jpeg(trailer=b"SECRET" + b"SEFT"),
    "jfxx": jpeg(segment(0xE0, b"JFXX\0\x10" + SECRET)),
    "jfif-thumbnail": jpeg(segment(0xE0, b"JFIF\0\x01\x01\x00\0\x01\0\x01\x03\x02SECRET" + b"PREVIEW12345")),
    "photoshop": jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + struct.pack(">L", len(SECRET)) + SECRET)),
    "iptc": jpeg(segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x06SECRET")),
    "comment": jpeg(segment(0xFE, b"SECRET comment")),
    "flashpix": jpeg(segment(0xE2, b"FPXR\0\0" + SECRET)),
    "private": jpeg(*(segment(0xE0 + n, b"SECRET private") for n in range(16))),
    "after-icc": jpeg(segment(0xE2, b"ICC_PROFILE\0\x01\x01" + b"SECRET is no profile")),
}


def png_with(*chunks: tuple[bytes, bytes], trailer: bytes = b"") -> bytes:
    data = saved("PNG")
    made = b"".join(
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in chunks
    )
    return data[:33] + made + data[33:] + trailer


PNGS = {
    "exif": png_with((b"eXIf", NASTY_EXIF)),
    "xmp": png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<SECRET/>")),
    "xmp-zipped": png_with((b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(SECRET))),
    "texts": png_with((b"tEXt", b"Comment\0SECRET"), (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(SECRET))),
    "private": png_with((b"prVt", SECRET), (b"caBX", SECRET)),
    "bad-profile": png_with((b"iCCP", b"SECRET\0\0" + zlib.compress(SECRET))),
    "palette": png_with((b"sPLT", b"SECRET\0\x08" + bytes(6))),
    "trailer": png_with(trailer=SECRET + MOTION_PHOTO),
}


def webp_with(*chunks: tuple[bytes, bytes], trailer: bytes = b"", lossless: bool = True) -> bytes:
    data = saved("WEBP", lossless=lossless)
    sides = struct.pack("<L", 63)[:3] + struct.pack("<L", 47)[:3]
    parts = ((b"VP8X", bytes((0x0C, 0, 0, 0)) + sides), *chunks)
    made = b"".join(name + struct.pack("<L", len(c)) + c + b"\0" * (len(c) % 2) for name, c in parts)
    body = b"WEBP" + made + data[12:]
    return b"RIFF" + struct.pack("<L", len(body)) + body + trailer


WEBPS = {
    "exif": webp_with((b"EXIF", NASTY_EXIF)),
    "exif-lossy": webp_with((b"EXIF", b"Exif\0\0" + NASTY_EXIF), lossless=False),
    "xmp": webp_with((b"XMP ", b"<SECRET/>")),
    "private": webp_with((b"SECR", SECRET)),
    "trailer": webp_with(trailer=SECRET),
}


def tiff_with_thumbnails(order: str = "<") -> bytes:
    """A TIFF with a thumbnail as a sub-directory and one as a second page, XMP, IPTC, Photoshop, MakerNote."""
    height, width = PIXELS.shape[:2]
    raw = PIXELS.tobytes()
    at = 8 + len(raw) + len(SECRET)

    def number(tag: int, value: int) -> tuple[int, int, int, int]:
        return (tag, 4, 1, value)

    def directory(rows: list[tuple[int, int, int, int]], following: int) -> bytes:
        made = b"".join(entry(*row, order) for row in sorted(rows))
        return struct.pack(order + "H", len(rows)) + made + struct.pack(order + "L", following)

    thumbnail_rows = [number(0x201, 8 + len(raw)), number(0x202, len(SECRET)), number(0xFE, 1)]
    thumbnail = directory(thumbnail_rows, 0)
    exif_rows = [(0x927C, 7, len(SECRET), 8 + len(raw)), number(0xA002, width)]
    exif = directory(exif_rows, 0)
    text = b"Maker kept\0\0"
    exif_at, text_at = at + len(thumbnail), at + len(thumbnail) + len(exif)
    main_at = text_at + len(text)
    rows = [
        *(number(0x100, width), number(0x101, height), number(0x103, 1), number(0x106, 2), number(0x111, 8)),
        *(number(0x115, 3), number(0x116, height), number(0x117, len(raw)), (0x10F, 2, 11, text_at)),
        *((tag, 7, len(SECRET), 8 + len(raw)) for tag in (0x02BC, 0x83BB, 0x8649, 0xC4A5, 0xEA1C)),
        *(number(0x14A, at), number(0x8769, exif_at), (0x102, 3, 1, 8 if order == "<" else 8 << 16)),
    ]
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(order + "L", main_at)
    return head + raw + SECRET + thumbnail + exif + text + directory(rows, at) + b"SECRET slack"


TIFFS = {"little-endian": tiff_with_thumbnails("<"), "big-endian": tiff_with_thumbnails(">")}


def bmp_with_gaps() -> bytes:
    data = saved("BMP")
    offset = struct.unpack_from("<L", data, 10)[0]
    gap = SECRET + bytes(-len(SECRET) % 4)
    head = data[:10] + struct.pack("<L", offset + len(gap)) + data[14:offset]
    return head + gap + data[offset:] + SECRET


def heic_with(**options: object) -> bytes:
    out = io.BytesIO()
    pillow_heif.encode("RGB", (64, 48), PIXELS.tobytes(), out, quality=90, **options)
    return out.getvalue()


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content) + 8) + name + content


HEIFS = {
    "heic-exif": heic_with(exif=b"Exif\0\0" + NASTY_EXIF),
    "heic-xmp": heic_with(xmp=b"<SECRET depth/>"),
    "heic-metadata": heic_with(metadata=[{"type": "mime", "content_type": "a/b", "data": b"SECRET"}]),
    "heic-trailer": heic_with() + box(b"mpvd", MOTION_PHOTO) + box(b"free", SECRET),
    "avif-exif": saved("AVIF", exif=NASTY_EXIF),
    "avif-xmp": saved("AVIF", xmp=b"<SECRET/>"),
    "avif-trailer": saved("AVIF") + box(b"mpvd", MOTION_PHOTO) + box(b"free", SECRET),
}

GROUPS = {"jpeg": JPEGS, "png": PNGS, "webp": WEBPS, "tiff": TIFFS, "bmp": {"gaps": bmp_with_gaps()}, "heif": HEIFS}
PLANTED = {f"{group}-{name}": data for group, files in GROUPS.items() for name, data in files.items()}


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_nothing_that_was_planted_is_left(name: str, *, strip: bool) -> None:
    data = PLANTED[name]
    assert any(sign in data for sign in SIGNS)
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels, strip_metadata=strip)

    assert picture.size_hw == (48, 64)
    assert not [sign for sign in SIGNS if sign in out]
    assert load_picture(out).size_hw == (48, 64)


@pytest.mark.parametrize("name", [name for name in PLANTED if "exif" in name or "endian" in name])
def test_what_is_harmless_in_exif_stays(name: str) -> None:
    picture = load_picture(PLANTED[name])

    out = encode_picture(picture, picture.pixels)

    assert b"Maker kept" in out


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xFE])
def test_a_jpeg_has_no_segment_that_it_does_not_need(marker: int) -> None:
    picture = load_picture(JPEGS["private"])

    out = encode_picture(picture, picture.pixels)

    assert bytes((0xFF, marker)) not in out[: out.index(b"\xff\xda")]
    assert out.count(b"\xff\xd8") == out.count(b"\xff\xd9") == 1


def test_a_heic_thumbnail_and_depth_are_not_carried() -> None:
    """The encoder makes a thumbnail for the input; libheif counts what is in the output."""
    file = pillow_heif.HeifFile()
    file.add_frombytes("RGB", (64, 48), PIXELS.tobytes())
    file[0].info["thumbnails"] = [32]
    given = io.BytesIO()
    file.save(given, quality=90)
    assert pillow_heif.open_heif(given.getvalue()).info["thumbnails"] == [32]
    picture = load_picture(given.getvalue())

    info = pillow_heif.open_heif(encode_picture(picture, picture.pixels)).info

    assert (info["thumbnails"], info["depth_images"], info["aux"], info["metadata"]) == ([], [], {}, [])


def test_a_heic_with_an_auxiliary_depth_map_loses_it() -> None:
    """A second picture that `auxl` makes a depth map of the first."""
    file = pillow_heif.HeifFile()
    for _ in range(2):
        file.add_frombytes("RGB", (64, 48), PIXELS.tobytes())
    out = io.BytesIO()
    file.save(out, quality=90)
    data = with_depth_reference(out.getvalue())
    info = pillow_heif.open_heif(data).info
    assert info["aux"] or info["depth_images"]
    picture = load_picture(data)

    after = pillow_heif.open_heif(encode_picture(picture, picture.pixels))

    assert (len(after), after.info["aux"], after.info["depth_images"]) == (1, {}, [])


def with_depth_reference(data: bytes) -> bytes:
    """Put `iref` (auxl 2 -> 1) and the depth map's `auxC` into a HEIC of two pictures."""
    reference = box(b"iref", bytes(4) + box(b"auxl", struct.pack(">HHH", 2, 1, 1)))
    kind = box(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0")
    meta, ipco, ipma = (data.index(name) - 4 for name in (b"meta", b"ipco", b"ipma"))
    iprp = data.index(b"iprp") - 4
    sizes = {at: struct.unpack_from(">L", data, at)[0] for at in (meta, iprp, ipco, ipma)}
    properties = count_boxes(data[ipco + 8 : ipco + sizes[ipco]])
    association = bytearray(data[ipma : ipma + sizes[ipma]])
    entries = struct.unpack_from(">L", association, 12)[0]
    at = 16
    for _ in range(entries):
        item, n = struct.unpack_from(">HB", association, at)
        if item == 2:
            association[at + 2] = n + 1
            association[at + 3 + n : at + 3 + n] = bytes([properties + 1])
            break
        at += 3 + n
    struct.pack_into(">L", association, 0, len(association))
    new_ipco = struct.pack(">L", sizes[ipco] + len(kind)) + data[ipco + 4 : ipco + sizes[ipco]] + kind
    new_iprp = box(b"iprp", new_ipco + bytes(association))
    grown = len(reference) + len(kind) + 1
    head = bytearray(data[:iprp])
    struct.pack_into(">L", head, meta, sizes[meta] + grown)
    shift_locations(head, grown)
    return bytes(head) + new_iprp + reference + data[iprp + sizes[iprp] :]


def count_boxes(content: bytes) -> int:
    n = at = 0
    while at < len(content):
        at += struct.unpack_from(">L", content, at)[0]
        n += 1
    return n


def shift_locations(head: bytearray, grown: int) -> None:
    """Add to the offsets of `iloc`, version 0 with 4-byte offsets and lengths."""
    at = head.index(b"iloc") + 4
    assert head[at] == 0, head[at : at + 8].hex()
    assert head[at + 4] == 0x44
    base = 4 * (head[at + 5] >> 4 == 4)
    (items,) = struct.unpack_from(">H", head, at + 6)
    at += 8
    for _ in range(items):
        (extents,) = struct.unpack_from(">H", head, at + 4 + base)
        at += 6 + base
        for _ in range(extents):
            struct.pack_into(">L", head, at, struct.unpack_from(">L", head, at)[0] + grown)
            at += 8


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: block[:7],
        lambda block: block[:40],
        lambda block: b"XX" + block[2:],
        lambda block: block[:4] + b"\xff\xff\xff\x7f" + block[8:],
        lambda block: b"",
    ],
)
def test_exif_that_cannot_be_read_is_left_out(spoil: Callable[[bytes], bytes]) -> None:
    picture = load_picture(jpeg(segment(0xE1, b"Exif\0\0" + spoil(NASTY_EXIF))))

    out = encode_picture(picture, picture.pixels)

    assert b"Exif" not in out


def test_a_directory_that_points_to_itself_ends() -> None:
    block = b"II*\0\x08\0\0\0" + b"\x01\0" + entry(0x8769, 4, 1, 8) + struct.pack("<L", 8)

    assert read_exif(block) == Exif()


def test_exif_larger_than_a_segment_loses_its_longest_values() -> None:
    tags = [(tag, 2, b"x" * 1024) for tag in range(0x9201, 0x9204)]
    tags += [(tag, 2, b"x" * 1024) for tag in (*range(0xA430, 0xA43D), *range(0xA401, 0xA40B), *range(0x9400, 0x9406))]
    tags += [(tag, 2, b"x" * 1024) for tag in (*range(0x8830, 0x8836), *range(0x9204, 0x920B), *range(0xA20E, 0xA218))]
    tags += [(tag, 2, b"x" * 1024) for tag in (0x829A, 0x829D, 0x8822, 0x8824, 0x8827, 0x9000, 0x9003, 0x9004, 0x9010)]
    tags += [(tag, 2, b"x" * 1024) for tag in (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9011, 0x9012)]
    block = exif_with([*tags, (0x0112, 3, b"\x06\0")])
    # The builder lays each value apart; one that short lies in its row.
    row = block.index(struct.pack("<HHL", 0x0112, 3, 2))
    block = block[:row] + struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0) + block[row + 12 :]

    exif = read_exif(block)

    assert 59_000 < len(exif.to_bytes()) <= 60_000
    assert exif.orientation == 6
