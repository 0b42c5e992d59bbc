"""A decoder's output counts as a picture only if every row was in the file: no memory, black rows or flat blocks."""

from __future__ import annotations

import io
import itertools
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, TiffImagePlugin
from scipy import ndimage

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images import heif, webp
from anonymizer.pipeline.images.exif_tags import Entry, pack_directory, read_directory, read_header, read_integers
from anonymizer.pipeline.images.in_memory import picture_of_pil
from anonymizer.pipeline.images.io import check_header, load_picture
from anonymizer.pipeline.images.png_chunks import read_chunks, write_chunks

H, W = 160, 208


def smooth(seed: int = 0, h: int = H, w: int = W, sigma: int = 5) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((h, w, 3)), (sigma, sigma, 0))
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def is_refused(data: bytes) -> bool:
    try:
        load_picture(data)
    except BrokenMedia as error:
        assert error.status == 422
        return True
    return False


# TIFF


def with_tags(data: bytes, **values: list[int]) -> bytes:
    """A TIFF with other values of its integer tags, named by number: t0101=[height]."""
    order, at = read_header(data)
    page, _ = read_directory(data, order, at)
    for name, numbers in values.items():
        packed = struct.pack(f"{order}{len(numbers)}L", *numbers)
        page[int(name[1:], 16)] = Entry(4, len(numbers), packed)
    at = len(data) + len(data) % 2
    body = data[8:] + bytes(len(data) % 2)
    return data[:4] + struct.pack(order + "L", at) + body + pack_directory({**page}, order, at=at)


def strip_sizes(data: bytes) -> list[int]:
    order, at = read_header(data)
    return list(read_integers(read_directory(data, order, at)[0][0x0117], order))


def with_cut_strips(data: bytes, share: float) -> bytes:
    return with_tags(data, t0117=[max(1, int(size * share)) for size in strip_sizes(data)])


TIFF_KINDS = [
    *(("1", "raw"), ("1", "tiff_ccitt"), ("1", "group3"), ("1", "group4"), ("1", "packbits"), ("1", "tiff_lzw")),
    *(("L", "raw"), ("RGB", "raw"), ("RGB", "packbits"), ("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate")),
    *(("RGB", "jpeg"), ("L", "jpeg"), ("I;16", "tiff_lzw")),
]


def tiff(mode: str, compression: str, seed: int = 0) -> bytes:
    return saved(Image.fromarray(smooth(seed)).convert(mode), "TIFF", compression=compression)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize(("mode", "compression"), TIFF_KINDS)
def test_a_tiff_whose_strips_hold_too_few_bytes_is_broken(mode: str, compression: str, share: float) -> None:
    data = tiff(mode, compression)

    assert load_picture(data).size_hw == (H, W)
    assert is_refused(with_cut_strips(data, share))


@pytest.mark.parametrize(("mode", "compression"), TIFF_KINDS)
def test_a_tiff_whose_header_claims_more_rows_is_broken(mode: str, compression: str) -> None:
    data = tiff(mode, compression)

    assert is_refused(with_tags(data, t0101=[H + 40]))
    assert is_refused(with_tags(data, t0101=[H + 40], t0116=[H + 40]))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_with_ten_of_3000_rows_is_broken(bits: int) -> None:
    rows = np.full((10, 80), 200, np.uint8 if bits == 8 else np.uint16)
    data = saved(Image.fromarray(rows), "TIFF", compression="raw")

    assert is_refused(with_tags(data, t0101=[3000], t0116=[10]))


def test_a_tile_too_few_is_broken() -> None:
    plane = smooth(h=64, w=64)[..., 0]
    tiles = [plane[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]

    assert np.array_equal(load_picture(tiled(tiles, 64, 64, 32, compression=1, bits=8)).pixels, plane)
    assert is_refused(tiled(tiles[:3], 64, 64, 32, compression=1, bits=8))
    assert is_refused(tiled([*tiles[:3], tiles[3][:-1]], 64, 64, 32, compression=1, bits=8))


def test_a_header_of_a_billion_tiles_is_broken_at_once() -> None:
    assert is_refused(tiled([b"\0"], 10_000, 10_000, 1, compression=1, bits=8))


def tiled(tiles: list[bytes], width: int, height: int, side: int, *, compression: int, bits: int) -> bytes:
    places, at = [], 8
    for tile in tiles:
        places.append(at)
        at += len(tile)
    body = b"".join(tiles) + bytes(at % 2)
    tags = {0x100: [width], 0x101: [height], 0x102: [bits], 0x103: [compression], 0x106: [1], 0x115: [1]}
    tags |= {0x142: [side], 0x143: [side], 0x144: places, 0x145: [len(tile) for tile in tiles]}
    entries = {tag: Entry(4, len(v), struct.pack(f"<{len(v)}L", *v)) for tag, v in tags.items()}
    at += at % 2
    return b"II*\0" + struct.pack("<L", at) + body + pack_directory({**entries}, "<", at=at)


# CCITT Group 4


def coded(plane: np.ndarray) -> bytes:
    """Group 4 code of (h, w) booleans, True for black, with the end of block."""
    file = saved(Image.fromarray(plane), "TIFF", compression="group4", tiffinfo={0x0116: plane.shape[0]})
    with Image.open(io.BytesIO(file)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        [place], [size] = image.tag_v2[0x0111], image.tag_v2[0x0117]
    return file[place : place + size]


def without_end(code: bytes) -> bytes:
    bits = "".join(f"{byte:08b}" for byte in code)
    bits = bits[: bits.index("000000000001")]
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def group4(
    strips: list[bytes], width: int, height: int, rows: int, *, photometric: int = 0, fill_order: int = 1
) -> bytes:
    if fill_order == 2:
        strips = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip) for strip in strips]
    body = b"".join(strips)
    places = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    tags = {0x100: [width], 0x101: [height], 0x102: [1], 0x103: [4], 0x106: [photometric], 0x10A: [fill_order]}
    tags |= {0x111: places, 0x115: [1], 0x116: [rows], 0x117: [len(strip) for strip in strips]}
    entries = {tag: Entry(4, len(v), struct.pack(f"<{len(v)}L", *v)) for tag, v in tags.items()}
    at = 8 + len(body) + len(body) % 2
    return b"II*\0" + struct.pack("<L", at) + body + bytes(len(body) % 2) + pack_directory({**entries}, "<", at=at)


def black_and_white(h: int, w: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.random((h, w)), [0, 0.4, 1.5][seed % 3]) > 0.5


@pytest.mark.parametrize("has_end", [True, False])
@pytest.mark.parametrize("fill_order", [1, 2])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("rows", [1, 7, 50])
@pytest.mark.parametrize("width", [1, 2, 9, 63, 64, 65, 700, 5200])
def test_group_4_is_read_bit_for_bit(
    width: int, rows: int, photometric: int, fill_order: int, *, has_end: bool
) -> None:
    plane = black_and_white(50, width, seed=width)
    strips = [coded(plane[top : top + rows]) for top in range(0, 50, rows)]
    strips = strips if has_end else [without_end(strip) for strip in strips]

    found = load_picture(group4(strips, width, 50, rows, photometric=photometric, fill_order=fill_order)).pixels

    assert np.array_equal(found == 255, plane if photometric else ~plane)


def test_group_4_in_tiles_is_read_bit_for_bit() -> None:
    plane = black_and_white(96, 64)
    tiles = [coded(plane[y : y + 32, x : x + 32]) for y in (0, 32, 64) for x in (0, 32)]

    found = load_picture(tiled(tiles, 50, 90, 32, compression=4, bits=1)).pixels

    assert np.array_equal(found == 255, plane[:90, :50])


@pytest.mark.parametrize("missing", [1, 2, 25, 49])
@pytest.mark.parametrize("width", [1, 9, 64, 700])
@pytest.mark.parametrize("has_end", [True, False])
def test_group_4_with_too_few_or_too_many_rows_is_broken(width: int, missing: int, *, has_end: bool) -> None:
    plane = black_and_white(50, width, seed=3)
    short, long = coded(plane[:-missing]), coded(np.vstack([plane, plane[:missing]]))
    for code in (short, long):
        assert is_refused(group4([code if has_end else without_end(code)], width, 50, 50))


def test_one_short_strip_among_whole_ones_is_broken() -> None:
    plane = black_and_white(50, 700)
    strips = [coded(plane[top : top + 10]) for top in range(0, 50, 10)]

    for index in range(5):
        spoilt = [*strips]
        spoilt[index] = coded(plane[:9])
        assert is_refused(group4(spoilt, 700, 50, 10))
        spoilt[index] = b"\0"
        assert is_refused(group4(spoilt, 700, 50, 10))


# PNG


def png_claiming_rows(data: bytes, height: int) -> bytes:
    chunks = [chunk for chunk in read_chunks(data) if chunk[0] != b"IEND"]
    name, header = chunks[0]
    return write_chunks([(name, header[:4] + struct.pack(">L", height) + header[8:]), *chunks[1:]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_a_png_with_a_whole_stream_of_too_few_rows_is_broken(mode: str) -> None:
    image = Image.fromarray(smooth())
    pixels = np.asarray(image.convert("L")).astype(np.uint16) * 257
    data = saved(Image.fromarray(pixels) if mode == "I;16" else image.convert(mode), "PNG")

    assert load_picture(data).size_hw == (H, W)
    for height in (H + 1, 10 * H):
        assert is_refused(png_claiming_rows(data, height))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (5, 3), (8, 8), (9, 17), (64, 48)])
def test_the_rows_of_an_interlaced_png_are_counted(bits: int, height: int, width: int) -> None:
    dtype, step = (">u1", 3) if bits == 8 else (">u2", 6)
    pixels = np.zeros((height, width, 3), dtype)
    raw = b""
    for x, y, across, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)):
        raw += b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across] if row.size)
    raw += b"".join(b"\0" + row.tobytes() for row in pixels[1::2])
    header = struct.pack(">LLBBBBB", width, height, bits, 2, 0, 0, 1)

    def png(rows: bytes) -> bytes:
        return write_chunks([(b"IHDR", header), (b"IDAT", zlib.compress(rows))])

    assert load_picture(png(raw)).size_hw == (height, width)
    for missing in (1, step, len(raw) // 2, len(raw)):
        assert is_refused(png(raw[: max(0, len(raw) - missing)]))


def test_a_black_png_is_whole() -> None:
    for mode in ("1", "L", "RGB", "RGBA"):
        assert load_picture(saved(Image.new(mode, (40, 30)), "PNG")).size_hw == (30, 40)


# JPEG

JPEGS: dict[str, dict[str, object]] = {
    "sequential": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "optimised": {"optimize": True},
}


def jpeg(kind: str, seed: int = 0, h: int = 83, w: int = 70) -> bytes:
    return saved(Image.fromarray(smooth(seed, h, w, sigma=1)), "JPEG", quality=80, **JPEGS[kind])


@pytest.mark.parametrize("tail", [b"", b"\xff", bytes(1), bytes(4096)])
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_an_end_marker_is_read_if_every_pixel_is_there(kind: str, tail: bytes) -> None:
    for seed in range(3):
        data = jpeg(kind, seed)
        open_end = data[:-2] + tail

        check_header(open_end)
        assert np.array_equal(load_picture(open_end).pixels, load_picture(data).pixels)
        for missing in (1, 2, 3, 5, 9, 300):
            short = data[: -2 - missing] + tail
            assert is_refused(short), (seed, missing)
            with pytest.raises(BrokenMedia):
                check_header(short)


def test_zeros_after_the_end_marker_are_no_fault() -> None:
    data = jpeg("sequential")

    assert np.array_equal(load_picture(data + bytes(4096)).pixels, load_picture(data).pixels)


def test_a_progressive_jpeg_that_ends_between_two_scans_is_broken_without_its_end_marker() -> None:
    data = jpeg("progressive")
    last_scan = data.rindex(b"\xff\xda")
    # the tables of the last scan come before it
    tables = data.rindex(b"\xff\xc4", 0, last_scan)

    assert is_refused(data[:tables])


def test_a_short_or_missing_restart_interval_is_broken() -> None:
    data = jpeg("restarts")
    markers = [at for at in range(data.index(b"\xff\xda"), len(data)) if data[at] == 255 and data[at + 1] & 248 == 208]

    assert load_picture(data).size_hw == (83, 70)
    for before, after in itertools.pairwise(markers):
        half = (before + after) // 2
        assert is_refused(data[:half] + data[after:])
        assert is_refused(data[:before] + data[after:])
    assert is_refused(data[: markers[-1]] + b"\xff\xd9")


def test_a_jpeg_without_the_scan_of_a_colour_is_broken() -> None:
    data = jpeg("progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    first = data[: scans[0]]
    luma_only = first.replace(b"\xff\xc2", b"\xff\xc0", 1)
    grey = saved(Image.fromarray(smooth(0, 83, 70)[..., 0]), "JPEG", quality=80)
    scan = grey[grey.index(b"\xff\xda") :]

    # the header names three colours, and the only scan has one
    assert is_refused(luma_only + scan)


@pytest.mark.parametrize("size", [(17, 17), (20, 36), (36, 20), (48, 48)])
def test_a_jpeg_that_lacks_its_last_coded_unit_is_broken(size: tuple[int, int]) -> None:
    pixels = smooth(1, *size, sigma=1)
    data = saved(Image.fromarray(pixels), "JPEG", quality=90)
    start = data.index(b"\xff\xda") + 14

    for share in (0.3, 0.6, 0.8):
        assert is_refused(data[: start + int((len(data) - start) * share)].rstrip(b"\xff") + b"\xff\xd9")


# HEIC, WebP


def heic(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    file = pillow_heif.HeifFile()
    file.add_frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    out = io.BytesIO()
    file.save(out, quality=80, **options)
    return out.getvalue()


def without_slice(data: bytes, index: int) -> bytes:
    """A HEIC of which one slice has become filler data, which decoders skip."""
    [(start, end)] = [(start, end) for name, start, end in heif._boxes(data, 0, len(data)) if name == b"mdat"]
    places = []
    while start < end:
        places.append(start + 4)
        start += 4 + int.from_bytes(data[start : start + 4], "big")
    changed = bytearray(data)
    changed[places[index]] = 38 << 1
    return bytes(changed)


@pytest.mark.parametrize("index", [0, 1, 3])
@pytest.mark.parametrize("kind", ["4:2:0", "4:2:2", "4:4:4", "10 bits", "alpha"])
def test_a_heic_without_one_of_its_slices_is_broken(kind: str, index: int) -> None:
    pixels, mode, options = smooth(h=512, w=640), "RGB", {}
    if kind == "10 bits":
        pixels, mode = pixels.astype(np.uint16) * 257, "RGB;16"
    elif kind == "alpha":
        pixels, mode = np.dstack([pixels, pixels[..., 0]]), "RGBA"
    else:
        options = {"chroma": int(kind.replace(":", ""))}
    data = heic(pixels, mode, enc_params={"x265:slices": "4"}, **options)

    assert load_picture(data).size_hw == (512, 640)
    assert is_refused(without_slice(data, index))


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">L", 8 + len(content)) + name + content


def full_box(name: bytes, content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(name, bytes([version]) + flags.to_bytes(3, "big") + content)


def heic_grid(tiles: list[np.ndarray]) -> tuple[bytes, list[int]]:
    """A HEIC of two by two tiles, as phones write it, and where the data of each tile begin."""
    files = [heic(tile, "RGB" if tile.ndim == 3 else "L") for tile in tiles]
    [inner] = [f[start:end] for f in files[:1] for name, start, end in heif._boxes(f, 0, len(f)) if name == b"hvcC"]
    coded = [f[start:end] for f in files for name, start, end in heif._boxes(f, 0, len(f)) if name == b"mdat"]
    side = tiles[0].shape[0]
    parts = [struct.pack(">BBBBHH", 0, 0, 1, 1, 2 * side, 2 * side), *coded]
    kinds = [b"grid", *[b"hvc1"] * 4]
    entries = [full_box(b"infe", struct.pack(">HH", 1 + i, 0) + kind + b"\0", 2, i > 0) for i, kind in enumerate(kinds)]
    properties = box(b"hvcC", inner) + full_box(b"ispe", struct.pack(">LL", side, side))
    properties += full_box(b"ispe", struct.pack(">LL", 2 * side, 2 * side)) + full_box(
        b"pixi", b"\3\x08\x08\x08" if tiles[0].ndim == 3 else b"\1\x08"
    )
    uses = b"".join(struct.pack(">HB", i, 3) + b"\x81\2\4" for i in range(2, 6))
    uses = full_box(b"ipma", struct.pack(">LHB", 5, 1, 2) + b"\3\4" + uses)
    start, begins = 0, []
    head = b""
    # the second time, the length of the head is known
    for _ in range(2):
        start = len(head) + 8
        begins = [start + sum(map(len, parts[:i])) for i in range(5)]
        places = (
            struct.pack(">HHHLL", 1 + i, 0, 1, at, len(part))
            for i, (at, part) in enumerate(zip(begins, parts, strict=True))
        )
        meta = full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)) + full_box(b"pitm", b"\0\1")
        meta += full_box(b"iloc", struct.pack(">BBH", 0x44, 0, 5) + b"".join(places))
        meta += full_box(b"iinf", struct.pack(">H", 5) + b"".join(entries))
        meta += full_box(b"iref", box(b"dimg", struct.pack(">HH4H", 1, 4, 2, 3, 4, 5)))
        meta += box(b"iprp", box(b"ipco", properties) + uses)
        head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic") + full_box(b"meta", meta)
    return head + box(b"mdat", b"".join(parts)), begins[1:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_heic_with_a_broken_tile_is_broken(mode: str) -> None:
    pixels = smooth(h=256, w=256) if mode == "RGB" else smooth(h=256, w=256)[..., 0]
    tiles = [pixels[y : y + 128, x : x + 128].copy() for y in (0, 128) for x in (0, 128)]
    data, begins = heic_grid(tiles)

    assert np.abs(load_picture(data).pixels.astype(int) - pixels).mean() < 5
    for at in begins:
        skipped, zeros = bytearray(data), bytearray(data)
        skipped[at + 4] = 38 << 1
        zeros[at : at + 40] = bytes(40)
        assert is_refused(bytes(skipped))
        # zeros in a grey picture may be a black tile
        assert mode == "L" or is_refused(bytes(zeros))
    if mode == "RGB":
        assert is_refused(heic_grid([*tiles[:3], tiles[3][:64, :64].copy()])[0])


@pytest.mark.parametrize("green", [84, 94, 128, 136])
def test_a_green_heic_is_whole(green: int) -> None:
    pixels = smooth(h=128, w=128)
    pixels[32:96, 32:96] = (0, green, 0)

    assert load_picture(heic(pixels, chroma=444)).size_hw == (128, 128)


def test_a_black_heic_is_whole() -> None:
    for mode, shape in (("RGB", (64, 80, 3)), ("L", (64, 80)), ("RGBA", (64, 80, 4))):
        assert load_picture(heic(np.zeros(shape, np.uint8), mode)).size_hw == (64, 80)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("options", [{}, {"lossless": True}])
def test_a_webp_with_a_short_chunk_is_broken(options: dict[str, object], share: float) -> None:
    pixels = np.dstack([smooth(), smooth(1)[..., 0]])
    chunks = webp._chunks(saved(Image.fromarray(pixels), "WEBP", **options))
    images = {name: chunks[name] for name in (b"ALPH", b"VP8 ", b"VP8L") if name in chunks}

    for name, content in images.items():
        short = {**images, name: content[: int(len(content) * share)]}
        assert is_refused(webp._riff_file(short, (W, H)))


# PIL images that are not loaded yet


@pytest.mark.parametrize("compression", ["group4", "jpeg", "raw"])
def test_an_unread_pil_image_of_a_short_tiff_is_refused(compression: str) -> None:
    whole = tiff("1" if compression == "group4" else "RGB", compression)

    with Image.open(io.BytesIO(whole)) as opened:
        assert picture_of_pil(opened).size_hw == (H, W)
    with Image.open(io.BytesIO(with_cut_strips(whole, 0.4))) as opened, pytest.raises(BrokenMedia):
        picture_of_pil(opened)


@pytest.mark.parametrize(
    ("compression", "is_read"),
    [("group4", False), ("group3", False), ("tiff_ccitt", False), ("jpeg", False), ("tiff_lzw", True)],
)
def test_an_unread_pil_image_of_several_pages_is_read_if_libtiff_reports_missing_rows(
    compression: str, *, is_read: bool
) -> None:
    image = Image.fromarray(smooth()).convert("RGB" if compression in ("jpeg", "tiff_lzw") else "1")
    pages = saved(image, "TIFF", compression=compression, save_all=True, append_images=[image])

    with Image.open(io.BytesIO(pages)) as opened:
        if is_read:
            assert picture_of_pil(opened).size_hw == (H, W)
            return
        with pytest.raises(UnsupportedMedia, match="several pages"):
            picture_of_pil(opened)
        opened.load()
        assert picture_of_pil(opened).size_hw == (H, W)


def test_an_unread_pil_image_of_another_format_is_read() -> None:
    grey = Image.fromarray(smooth()).convert("L")
    for file_format in ("GIF", "PPM", "TGA"):
        with Image.open(io.BytesIO(saved(grey, file_format))) as opened:
            assert picture_of_pil(opened).size_hw == (H, W)


# memory of the process

_DECODE = """
import hashlib, json, pathlib, sys
import numpy as np
from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.images.io import load_picture
from anonymizer.pipeline.limits import Limits
first, *files = sorted(pathlib.Path(sys.argv[1]).iterdir())
marker = first.read_bytes()
shown = load_picture(marker).pixels.astype(float)
found = {}
for file in files:
    load_picture(marker)
    try:
        pixels = load_picture(file.read_bytes(), limits=Limits(megapixels=1)).pixels
    except AnonymizerError as error:
        found[file.name] = type(error).__name__
        continue
    grey = pixels.astype(float) if pixels.ndim == 2 else pixels[..., :3].mean(axis=2)
    marks = shown.mean(axis=2)[: grey.shape[0], : grey.shape[1]]
    grey = grey[: marks.shape[0], : marks.shape[1]]
    pairs = [(marks[top : top + 8], grey[top : top + 8]) for top in range(0, len(marks) - 7, 8)]
    likeness = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs if a.std() and b.std()]
    found[file.name] = [hashlib.sha256(pixels.tobytes()).hexdigest(), max(likeness, default=0.0)]
print(json.dumps(found))
"""


def damaged_files() -> dict[str, bytes]:
    """For each codec, cut files and files with random damage behind the header."""
    image = Image.fromarray(smooth())
    with_alpha = Image.fromarray(np.dstack([smooth(), smooth(1)[..., 0]]))
    whole: dict[str, Callable[[], bytes]] = {
        **{
            f"tiff-{mode.replace(';', '')}-{kind}": lambda mode=mode, kind=kind: tiff(mode, kind)  # type: ignore[misc]
            for mode, kind in TIFF_KINDS
        },
        **{f"jpeg-{kind.replace(':', '')}": lambda kind=kind: jpeg(kind, h=H, w=W) for kind in JPEGS},  # type: ignore[misc]
        "png": lambda: saved(image, "PNG"),
        "png16": lambda: cv2.imencode(".png", smooth().astype(np.uint16) * 257)[1].tobytes(),
        "webp": lambda: saved(image, "WEBP"),
        "webp-lossless": lambda: saved(image, "WEBP", lossless=True),
        "webp-alpha": lambda: saved(with_alpha, "WEBP"),
        "bmp": lambda: saved(image, "BMP"),
        "avif": lambda: saved(image, "AVIF"),
        "avif-alpha": lambda: saved(with_alpha, "AVIF"),
        "heic": lambda: heic(smooth()),
        "heic-slices": lambda: without_slice(heic(smooth(h=256, w=256), enc_params={"x265:slices": "2"}), 1),
        "heic-grey": lambda: heic(smooth()[..., 0].copy(), "L"),
        "heic-alpha": lambda: heic(np.asarray(with_alpha), "RGBA"),
    }
    rng = np.random.default_rng(0)
    files = {}
    for kind, tile in (("rgb", smooth(h=128, w=128)), ("grey", smooth(h=128, w=128)[..., 0].copy())):
        grid, begins = heic_grid([tile] * 4)
        files[f"heic-{kind}-tile.cut"] = grid[: begins[1] + 4] + bytes([38 << 1]) + grid[begins[1] + 5 :]
    for name, make in whole.items():
        data = make()
        files[f"{name}.cut"] = data[: len(data) // 2]
        if name.startswith("tiff"):
            files[f"{name}.short"] = with_cut_strips(data, 0.4)
            files[f"{name}.rows"] = with_tags(data, t0101=[H * 2], t0116=[H * 2])
        for number in range(3):
            spoilt = bytearray(data)
            for at in rng.integers(len(data) // 4, len(data), 2):
                spoilt[at] = rng.integers(256)
            if name.startswith("png"):
                spoilt = bytearray(png_claiming_rows(data, H + 8 * number + 1))
            files[f"{name}.{number}"] = bytes(spoilt)
    return files


def test_no_pixel_comes_from_the_memory_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "0-marker.png").write_bytes(saved(Image.fromarray(smooth(9, 2 * H, W, sigma=1)), "PNG"))
    files = damaged_files()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    # Each process has another value in memory that is not yet written (glibc; others ignore the variable).
    answers = []
    for value in ("85", "170"):
        env = {**os.environ, "GLIBC_TUNABLES": f"glibc.malloc.perturb={value}"}
        done = subprocess.run(
            [sys.executable, "-c", _DECODE, str(tmp_path)], env=env, capture_output=True, text=True, check=True
        )
        answers.append(json.loads(done.stdout))

    first, second = answers
    assert first.keys() == files.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert {name: found for name, found in first.items() if not isinstance(found, str) and found[1] > 0.5} == {}
    refused = {name for name, found in first.items() if found == "BrokenMedia"}
    assert {name for name in files if name.endswith((".cut", ".short", ".rows"))} <= refused
    assert {name for name in files if name.startswith(("png.", "heic-slices."))} <= refused
