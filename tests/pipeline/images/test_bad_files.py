"""What is no picture, or a broken, too large or animated one: each gets its own error and a sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from anonymizer.pipeline.errors import AnonymizerError, BrokenMedia, TooLarge, UnsupportedMedia
from anonymizer.pipeline.images.io import MediaKind, check_header, load_picture, sniff
from anonymizer.pipeline.limits import Limits

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def saved(file_format: str, image: Image.Image | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    (image or Image.fromarray(NOISE)).save(out, file_format, **options)
    return out.getvalue()


def heic(*pictures: np.ndarray) -> bytes:
    file = pillow_heif.HeifFile()
    for pixels in pictures:
        file.add_frombytes("RGB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    out = io.BytesIO()
    file.save(out, quality=90)
    return out.getvalue()


FILES = {
    "jpeg": lambda: saved("JPEG", quality=90),
    "progressive": lambda: saved("JPEG", quality=90, progressive=True),
    "png": lambda: saved("PNG"),
    "webp": lambda: saved("WEBP"),
    "webp-lossless": lambda: saved("WEBP", lossless=True),
    "tiff": lambda: saved("TIFF"),
    "tiff-lzw": lambda: saved("TIFF", compression="tiff_lzw"),
    "bmp": lambda: saved("BMP"),
    "heic": lambda: heic(NOISE),
    "avif": lambda: saved("AVIF"),
}


def ftyp(major: bytes, *brands: bytes) -> bytes:
    return struct.pack(">L", 16 + 4 * len(brands)) + b"ftyp" + major + bytes(4) + b"".join(brands) + bytes(64)


def ebml(doctype: bytes) -> bytes:
    return b"\x1a\x45\xdf\xa3\x93\x42\x82" + bytes([0x80 | len(doctype)]) + doctype + bytes(40)


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()

    for source in (b"", path):
        with pytest.raises(BrokenMedia, match="empty") as caught:
            load_picture(source)
        assert caught.value.status == 422


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Hello, this is no picture at all.\n" * 9, "text"),
        ("Grüße, ".encode() * 600, "text"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"GIF89a" + bytes(60), "GIF"),
        (b"GIF87a" + bytes(60), "GIF"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"8BPS" + bytes(60), "Photoshop"),
        (b"II+\0" + bytes(60), "BigTIFF"),
        (ftyp(b"crx "), "raw"),
        (ftyp(b"M4A "), "sound"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "unknown"),
        (b"BM" + bytes(60), "unknown"),
        (b"\xff\xd8", "unknown"),
        (bytes(4096), "unknown"),
    ],
)
def test_other_files_are_not_supported(head: bytes, words: str) -> None:
    with pytest.raises(UnsupportedMedia, match=words) as caught:
        load_picture(head)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (ftyp(b"isom", b"iso2", b"avc1", b"mp41"), "mp4"),
        (ftyp(b"mp42"), "mp4"),
        (ftyp(b"M4V "), "mp4"),
        (ftyp(b"3gp5"), "mp4"),
        (ftyp(b"qt  "), "mov"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat", "mov"),
        (ebml(b"webm"), "webm"),
        (ebml(b"matroska"), "mkv"),
        (b"RIFF\0\x10\0\0AVI LIST", "avi"),
        ((b"G" + bytes(187)) * 8, "ts"),
        ((bytes(4) + b"G" + bytes(187)) * 8, "m2ts"),
    ],
)
def test_videos_are_known_and_are_no_pictures(head: bytes, name: str) -> None:
    info = sniff(head)

    assert (info.kind, info.format) == (MediaKind.VIDEO, name)
    with pytest.raises(UnsupportedMedia, match=f"video \\({name}\\)"):
        load_picture(head)


@pytest.mark.parametrize("name", FILES)
def test_pictures_are_known_by_their_bytes(name: str) -> None:
    assert check_header(FILES[name]()).format == name.split("-")[0].replace("progressive", "jpeg")


@pytest.mark.parametrize("share", [10, 50, 95])
@pytest.mark.parametrize("name", FILES)
def test_a_picture_that_is_cut_off_is_broken(name: str, share: int) -> None:
    data = FILES[name]()

    with pytest.raises(BrokenMedia) as caught:
        load_picture(data[: len(data) * share // 100])
    assert caught.value.status == 422


@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "webp", "tiff", "bmp", "avif", "heic"])
def test_a_picture_without_its_last_bytes_is_broken(name: str) -> None:
    data = FILES[name]()
    if name == "tiff":
        data = saved("TIFF", compression="raw")

    # the last two bytes of a JPEG are its end marker, and every pixel is before it
    for missing in (3, 5, 9) if name in ("jpeg", "progressive") else (1, 2, 9):
        with pytest.raises(BrokenMedia):
            load_picture(data[:-missing])


@pytest.mark.parametrize("share", [30, 50, 95])
@pytest.mark.parametrize("name", ["jpeg", "progressive"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_cut_jpeg_with_an_end_put_on_is_broken(name: str, share: int, *, flat: bool) -> None:
    pixels = np.tile(NOISE, (4, 4, 1))
    if flat:
        pixels[-16:] = 200
    options = {"quality": 90, "progressive": name == "progressive"}
    data = saved("JPEG", Image.fromarray(pixels), **options)
    start = data.index(b"\xff\xda")

    with pytest.raises(BrokenMedia):
        load_picture(data[: start + 14 + (len(data) - start - 14) * share // 100].rstrip(b"\xff") + b"\xff\xd9")


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_flat_jpeg_is_not_taken_for_a_cut_one(value: int, mode: str, *, progressive: bool) -> None:
    data = saved("JPEG", Image.new("L", (64, 48), value).convert(mode), progressive=progressive, optimize=True)

    assert load_picture(data).size_hw == (48, 64)


def test_a_wrong_checksum_is_broken() -> None:
    data = bytearray(saved("PNG"))
    data[data.index(b"IDAT") + 20] ^= 1

    with pytest.raises(BrokenMedia, match="checksum"):
        load_picture(bytes(data))


def png_claiming(width: int, height: int, bits: int = 8, colour_type: int = 2, raw: bytes = bytes(100)) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))

    header = struct.pack(">LLBBBBB", width, height, bits, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def with_size(name: str, width: int, height: int) -> bytes:
    """A file whose header claims another size."""
    data = bytearray(FILES[name]())
    if name == "jpeg":
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    elif name == "bmp":
        struct.pack_into("<ll", data, 18, width, height)
    elif name == "tiff":
        for tag, value in ((0x100, width), (0x101, height)):
            at = data.index(struct.pack("<HHL", tag, 4, 1))
            struct.pack_into("<L", data, at + 8, value)
    else:
        at = data.index(b"ispe")
        struct.pack_into(">LL", data, at + 8, width, height)
    return bytes(data)


@pytest.mark.parametrize("check", [load_picture, check_header])
@pytest.mark.parametrize("name", ["png", "jpeg", "bmp", "tiff", "heic", "avif"])
def test_a_header_that_claims_too_many_pixels_is_refused_before_decoding(name: str, check) -> None:  # type: ignore[no-untyped-def]
    data = png_claiming(50_000, 50_000) if name == "png" else with_size(name, 50_000, 50_000)

    with pytest.raises(TooLarge, match=r"50000 x 50000 pixels \(2500\.0 megapixels\).* 200 megapixels") as caught:
        check(data)
    assert caught.value.status == 413


@pytest.mark.parametrize("size", [(0, 0), (0, 48), (64, 0)])
@pytest.mark.parametrize("name", ["png", "jpeg", "bmp", "tiff", "heic", "avif"])
def test_a_picture_without_pixels_is_broken(name: str, size: tuple[int, int]) -> None:
    data = png_claiming(*size) if name == "png" else with_size(name, *size)

    with pytest.raises(BrokenMedia, match="no pixels"):
        load_picture(data)


def test_the_limits_are_the_callers() -> None:
    data = saved("PNG")

    with pytest.raises(TooLarge, match="megapixels"):
        load_picture(data, limits=Limits(megapixels=64 * 48 / 1e6 - 1e-6))
    assert load_picture(data, limits=Limits(bytes=len(data), megapixels=64 * 48 / 1e6)).size_hw == (48, 64)


def test_a_file_with_too_many_bytes_is_refused(tmp_path: Path) -> None:
    data = saved("PNG")
    path = tmp_path / "large.png"
    path.write_bytes(data)

    for source in (data, path, io.BytesIO(data)):
        with pytest.raises(TooLarge, match="bytes"):
            load_picture(source, limits=Limits(bytes=len(data) - 1))


def test_a_16_bit_png_with_too_few_data_is_broken() -> None:
    for raw in (b"", bytes(6 * 16 * 8)):
        with pytest.raises(BrokenMedia, match="data end"):
            load_picture(png_claiming(16, 16, 16, 2, raw))


SECOND = Image.fromarray(NOISE[::-1].copy())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: saved("PNG", save_all=True, append_images=[SECOND]), "Animated PNG"),
        (lambda: saved("WEBP", save_all=True, append_images=[SECOND]), "Animated WebP"),
        (lambda: saved("AVIF", save_all=True, append_images=[SECOND]), "Animated AVIF"),
        (lambda: saved("GIF", save_all=True, append_images=[SECOND]), "GIF"),
        (lambda: saved("TIFF", save_all=True, append_images=[SECOND]), "several pages"),
        (lambda: heic(NOISE, NOISE[::-1].copy()), "several pictures are not supported: this one has 2"),
    ],
)
def test_animated_and_multi_page_files_are_not_supported(data, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedMedia, match=words):
        load_picture(data())


def test_what_could_not_be_written_as_it_was_is_refused() -> None:
    float_tiff = saved("TIFF", Image.fromarray(NOISE[..., 0].astype(np.float32)))
    arithmetic = saved("JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1)
    twelve_bits = bytearray(saved("JPEG"))
    twelve_bits[twelve_bits.index(b"\xff\xc0") + 4] = 12

    for data, words in ((float_tiff, "TIFF"), (arithmetic, "arithmetic"), (bytes(twelve_bits), "12 bits")):
        with pytest.raises(UnsupportedMedia, match=words):
            load_picture(data)


def test_a_camera_raw_file_is_not_taken_for_its_preview() -> None:
    data = saved("TIFF", tiffinfo={0x00FE: 1})

    with pytest.raises(UnsupportedMedia, match="raw"):
        load_picture(data)


@pytest.mark.parametrize("name", FILES)
def test_random_damage_gives_a_picture_or_an_error_of_ours(name: str) -> None:
    data = FILES[name]()
    rng = np.random.default_rng(7)

    for _ in range(100):
        damaged = bytearray(data)
        for at in rng.integers(4, min(len(data), 600), 3):
            damaged[at] = rng.integers(256)
        try:
            load_picture(bytes(damaged), limits=Limits(megapixels=4))
        except AnonymizerError:
            continue


def test_a_missing_path_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_picture(tmp_path / "none.jpg")


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_large_picture_within_the_limit_is_read_without_a_warning(file_format: str) -> None:
    data = saved(
        file_format, Image.new("1", (10_000, 9_000)), **{"TIFF": {"compression": "group4"}}.get(file_format, {})
    )

    assert load_picture(data).size_hw == (9_000, 10_000)


@pytest.mark.parametrize("compression", [6, 34925, 50000])
def test_a_tiff_of_a_rare_compression_is_not_supported(compression: int) -> None:
    data = saved("TIFF")
    row = struct.pack("<HHL", 0x103, 3, 1)
    at = data.index(row) + len(row)

    with pytest.raises(UnsupportedMedia, match=f"compression {compression}"):
        load_picture(data[:at] + struct.pack("<H", compression) + data[at + 2 :])
