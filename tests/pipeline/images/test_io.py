"""Pictures in and out: formats, modes, orientation, metadata that stays."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from anonymizer.pipeline.images import io as images_io
from anonymizer.pipeline.images.io import encode_picture, encode_png, load_picture
from anonymizer.pipeline.orientation import stored, upright

H, W = 40, 56
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = ("png", "webp-lossless", "tiff", "bmp")


def photo(h: int = H, w: int = W, channels: int = 3) -> np.ndarray:
    """Smooth, so that lossy coding changes little; no symmetry, so that turns show."""
    y, x = np.mgrid[0:h, 0:w]
    planes = [x * 200 / w + 20, y * 200 / h + 20, (x + y) * 120 / (w + h) + 60, y * 150 / h + 40]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def heic(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    pillow_heif.encode(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes(), out, **{"quality": 95, **options})
    return out.getvalue()


def exif_block(**tags: object) -> bytes:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[int(tag[1:], 16)] = value
    return exif.tobytes()


def png(bits: int, colour_type: int, rows: np.ndarray, *extra: tuple[bytes, bytes], interlace: int = 0) -> bytes:
    """A PNG of packed rows (h, bytes), unfiltered."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    width = rows.shape[1] * 8 // bits // channels
    header = struct.pack(">LLBBBBB", width, len(rows), bits, colour_type, 0, 0, interlace)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def with_data(data: bytes, raw: bytes) -> bytes:
    """A PNG with other pixel data."""
    start, zipped = data.index(b"IDAT"), b"IDAT" + zlib.compress(raw)
    end = b"\0\0\0\0IEND\xae\x42\x60\x82"
    return data[: start - 4] + struct.pack(">L", len(zipped) - 4) + zipped + struct.pack(">L", zlib.crc32(zipped)) + end


def changed(picture: io.Picture) -> np.ndarray:
    """The pixels with a black block in the middle; no ink is 0 in CMYK, so that 0 is white there."""
    pixels = picture.pixels.copy()
    pixels[10:30, 10:30] = 0
    return pixels


def test_all_names_exist() -> None:
    assert all(hasattr(images_io, name) for name in images_io.__all__)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_back_is_the_reverse_of_turning_upright(orientation: int) -> None:
    pixels = photo()

    assert np.array_equal(stored(upright(pixels, orientation), orientation), pixels)


def encoded(name: str, pixels: np.ndarray, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    if name == "heic":
        return heic(pixels, **options)
    kinds = {"webp-lossless": ("WEBP", {"lossless": True}), "jpeg": ("JPEG", {"quality": 95, "subsampling": 0})}
    file_format, more = kinds.get(name, (name.upper(), {}))
    return saved(image, file_format, **{**more, **options})


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp-lossless", "webp", "tiff", "avif", "heic"])
def test_orientation_is_applied_and_kept(name: str, orientation: int) -> None:
    wanted = photo()
    exif = exif_block(x0112=orientation)
    # pillow_heif lays the pixels as they are and turns them by its own box.
    data = encoded(name, stored(wanted, orientation), exif=exif)

    picture = load_picture(data)
    out = encode_picture(picture, picture.pixels)
    stripped = encode_picture(picture, picture.pixels, strip_metadata=True)

    assert np.abs(picture.rgb().astype(int) - wanted).max() <= 14
    for result in (out, stripped):
        again = load_picture(result)
        assert again.size_hw == wanted.shape[:2]
        assert np.abs(again.rgb().astype(int) - wanted).max() <= 20
    if name != "heic":
        assert opened(out).getexif().get(0x0112, 1) == orientation
        assert opened(out).size == opened(data).size
        shown = ImageOps.exif_transpose(opened(out)).convert("RGB")
        assert np.abs(np.asarray(shown).astype(int) - wanted).max() <= 20
        assert opened(stripped).size == (W, H)
        assert 0x0112 not in opened(stripped).getexif()


MODES = {
    "png-1": lambda: saved(Image.fromarray(photo(channels=1)[..., 0] > 100), "PNG"),
    "png-L": lambda: saved(Image.fromarray(photo(channels=1)[..., 0]), "PNG"),
    "png-LA": lambda: saved(Image.fromarray(photo(channels=2)), "PNG"),
    "png-RGB": lambda: saved(Image.fromarray(photo()), "PNG"),
    "png-RGBA": lambda: saved(Image.fromarray(photo(channels=4)), "PNG"),
    "png-P": lambda: saved(Image.fromarray(photo()).quantize(200), "PNG"),
    "png-P4": lambda: saved(Image.fromarray(photo()).quantize(12), "PNG", bits=4),
    "png-P1": lambda: saved(Image.fromarray(photo()).quantize(2), "PNG", bits=1),
    "png-I16": lambda: saved(Image.fromarray(photo(channels=1)[..., 0].astype(np.uint16) * 251), "PNG"),
    "tiff-1": lambda: saved(Image.fromarray(photo(channels=1)[..., 0] > 100), "TIFF", compression="group4"),
    "tiff-L": lambda: saved(Image.fromarray(photo(channels=1)[..., 0]), "TIFF", compression="tiff_lzw"),
    "tiff-LA": lambda: saved(Image.fromarray(photo(channels=2)), "TIFF"),
    "tiff-I16": lambda: saved(Image.fromarray(photo(channels=1)[..., 0].astype(np.uint16) * 251), "TIFF"),
    "tiff-P": lambda: saved(Image.fromarray(photo()).quantize(200), "TIFF"),
    "tiff-RGB": lambda: saved(Image.fromarray(photo()), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-RGBA": lambda: saved(Image.fromarray(photo(channels=4)), "TIFF", compression="packbits"),
    "tiff-CMYK": lambda: saved(Image.frombytes("CMYK", (W, H), photo(channels=4).tobytes()), "TIFF"),
    "bmp-1": lambda: saved(Image.fromarray(photo(channels=1)[..., 0] > 100), "BMP"),
    "bmp-L": lambda: saved(Image.fromarray(photo(channels=1)[..., 0]), "BMP"),
    "bmp-P": lambda: saved(Image.fromarray(photo()).quantize(200), "BMP"),
    "bmp-RGB": lambda: saved(Image.fromarray(photo()), "BMP"),
    "bmp-RGBA": lambda: saved(Image.fromarray(photo(channels=4)), "BMP"),
    "webp-RGB": lambda: saved(Image.fromarray(photo()), "WEBP", lossless=True),
    "webp-RGBA": lambda: saved(Image.fromarray(photo(channels=4)), "WEBP", lossless=True, exact=True),
}


@pytest.mark.parametrize("name", MODES)
def test_lossless_pictures_come_back_identical(name: str) -> None:
    data = MODES[name]()

    picture = load_picture(data)
    result = opened(encode_picture(picture, picture.pixels))

    source = opened(data)
    assert (result.format, result.mode) == (source.format, source.mode)
    assert np.array_equal(np.asarray(result.convert("RGBA")), np.asarray(source.convert("RGBA")))
    assert np.asarray(result).dtype == np.asarray(source).dtype
    assert np.array_equal(np.asarray(result), np.asarray(source))
    assert picture.rgb().shape == (H, W, 3)


@pytest.mark.parametrize("name", MODES)
def test_changed_pixels_change_and_no_other(name: str) -> None:
    picture = load_picture(MODES[name]())
    pixels = changed(picture)

    again = load_picture(encode_picture(picture, pixels))

    keep = np.ones((H, W), bool)
    keep[10:30, 10:30] = False
    assert np.array_equal(again.pixels[keep], picture.pixels[keep])
    inside = again.pixels[10:30, 10:30]
    assert len(np.unique(inside.reshape(-1, *inside.shape[2:]), axis=0)) == 1
    if "P" not in name.split("-")[1].replace("P4", "P").replace("P1", "P"):
        assert (inside == 0).all()


def test_bits_and_palette_of_a_png_stay() -> None:
    data = MODES["png-P4"]()
    picture = load_picture(data)

    out = encode_picture(picture, changed(picture))

    assert out[24:26] == data[24:26] == b"\x04\x03"
    assert opened(out).getpalette() == opened(data).getpalette()


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_png_of_few_bits_stays_as_it_is(bits: int) -> None:
    rows = np.arange(40 * 14, dtype=np.uint8).reshape(40, 14)
    data = png(bits, 0, rows)
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels)

    assert out[24:26] == bytes([bits, 0])
    assert np.array_equal(np.asarray(opened(out)), np.asarray(opened(data)))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_stays_16_bit(colour_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (300, 20, channels)).astype(">u2")
    data = png(16, colour_type, values.reshape(300, -1).view(np.uint8), (b"gAMA", struct.pack(">L", 45455)))
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels)
    again = load_picture(out)

    colours = values[..., : 3 if channels >= 3 else 1].squeeze()
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels, colours)
    assert np.array_equal(again.pixels, picture.pixels)
    assert out[24:26] == bytes([16, colour_type])
    assert b"gAMA" in out
    if channels in (2, 4):
        assert np.array_equal(again._decoded.alpha, values[..., -1])
    if channels == 1:
        assert np.array_equal(np.asarray(opened(out)), colours)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@pytest.mark.parametrize("dtype", [">u1", ">u2"])
def test_interlaced_png_is_read(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (21, 30, 3)).astype(dtype)
    bits = 8 * values.itemsize
    passes = [values[y::down, x::across] for x, y, across, down in ADAM7]
    raw = b"".join(b"\0" + row.tobytes() for each in passes for row in each)
    plain = png(bits, 2, values.reshape(21, -1).view(np.uint8), interlace=1)
    picture = load_picture(with_data(plain, raw))

    out = encode_picture(picture, picture.pixels)

    assert np.array_equal(picture.pixels, values)
    assert np.array_equal(load_picture(out).pixels, values)
    assert out[28] == 0


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_transparent_colour_stays_where_it_was_and_nowhere_else(colour_type: int) -> None:
    channels = 3 if colour_type else 1
    values = np.full((H, W, channels), 90, np.uint8)
    values[:5] = 0
    key = struct.pack(f">{channels}H", *[0] * channels)
    picture = load_picture(png(8, colour_type, values.reshape(H, -1), (b"tRNS", key)))
    pixels = picture.pixels.copy()
    pixels[:20] = 0
    pixels[:2] = 200

    alpha = np.asarray(opened(encode_picture(picture, pixels)).convert("RGBA"))[..., 3]

    assert (alpha[:5] == 0).all()
    assert (alpha[5:] == 255).all()


def test_transparency_of_a_palette_stays() -> None:
    palette = np.array([[255, 0, 0], [0, 255, 0], [10, 10, 10], [0, 0, 0]], np.uint8)
    rows = np.tile(np.array([[0, 1, 1, 0]], np.uint8), (4, 1))
    data = png(8, 3, rows, (b"PLTE", palette.tobytes()), (b"tRNS", bytes([255, 0, 255, 0])))
    picture = load_picture(data)
    pixels = picture.pixels.copy()
    pixels[0] = 0

    result = np.asarray(opened(encode_picture(picture, pixels)).convert("RGBA"))

    assert result[0].tolist() == [[10, 10, 10, 255], [0, 0, 0, 0], [0, 0, 0, 0], [10, 10, 10, 255]]
    assert np.array_equal(result[1:], np.asarray(opened(data).convert("RGBA"))[1:])


def test_a_palette_with_an_alpha_for_each_colour_does_not_keep_the_original_colours() -> None:
    palette = np.array([[i, i, i] for i in range(20, 220)], np.uint8)
    rows = np.arange(200, dtype=np.uint8).reshape(10, 20)
    data = png(8, 3, rows, (b"PLTE", palette.tobytes()), (b"tRNS", bytes(range(20, 220))))
    picture = load_picture(data)

    again = load_picture(encode_picture(picture, np.zeros_like(picture.pixels)))

    assert (again.pixels == 20).all()


@pytest.mark.parametrize("name", ["webp-alpha", "avif", "heic"])
def test_alpha_of_lossy_formats_stays_bit_for_bit(name: str) -> None:
    pixels = photo(channels=4)
    pixels[..., 3] = np.random.default_rng(0).integers(0, 256, (H, W))
    image = Image.fromarray(pixels)
    data = {
        "webp-alpha": lambda: saved(image, "WEBP", quality=90),
        "avif": lambda: saved(image, "AVIF", quality=100),
        "heic": lambda: heic(pixels, "RGBA", quality=-1),
    }[name]()
    picture = load_picture(data)

    again = load_picture(encode_picture(picture, changed(picture)))

    assert np.array_equal(picture._decoded.alpha, pixels[..., 3])
    assert np.array_equal(again._decoded.alpha, pixels[..., 3])


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_tables_subsampling_and_order(*, subsampling: int, progressive: bool) -> None:
    data = saved(
        Image.fromarray(photo()), "JPEG", quality=83, subsampling=subsampling, progressive=progressive, dpi=(300, 200)
    )
    picture = load_picture(data)

    source, result = opened(data), opened(encode_picture(picture, picture.pixels))

    assert result.quantization == source.quantization
    assert result.layer == source.layer
    assert result.info.get("progressive") == source.info.get("progressive")
    assert result.info["dpi"] == (300, 200)
    assert np.abs(np.asarray(result).astype(int) - np.asarray(source)).max() <= 12


def test_a_jpeg_with_a_quality_gets_other_tables_and_the_same_subsampling() -> None:
    data = saved(Image.fromarray(photo()), "JPEG", quality=95, subsampling=1)
    picture = load_picture(data)

    result = opened(encode_picture(picture, picture.pixels, quality=30))

    assert result.quantization == opened(saved(Image.fromarray(photo()), "JPEG", quality=30)).quantization
    assert result.layer == opened(data).layer


def test_odd_subsampling_becomes_none() -> None:
    data = bytearray(saved(Image.fromarray(photo(16, 16)), "JPEG", quality=95, subsampling=1))
    frame = data.index(b"\xff\xc0")
    data[frame + 11] = 0x12  # 2x1 becomes 1x2: as many blocks in a picture of one such unit, in another place
    picture = load_picture(bytes(data))

    result = opened(encode_picture(picture, picture.pixels))

    assert [each[1:3] for each in result.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_keeps_its_mode(mode: str) -> None:
    plane = photo(channels=4)
    image = Image.frombytes("CMYK", (W, H), plane.tobytes()) if mode == "CMYK" else Image.fromarray(plane[..., 0])
    picture = load_picture(saved(image, "JPEG", quality=95))

    result = opened(encode_picture(picture, picture.pixels))

    assert result.mode == mode
    assert np.abs(np.asarray(result).astype(int) - np.asarray(image)).max() <= 8


def test_a_jpeg_of_rgb_stays_rgb() -> None:
    data = saved(Image.fromarray(photo()), "JPEG", quality=95, keep_rgb=True)
    picture = load_picture(data)

    result = opened(encode_picture(picture, picture.pixels))

    assert [each[0] for each in result.layer] == [ord(c) for c in "RGB"]
    assert np.abs(np.asarray(result).astype(int) - photo()).max() <= 8


def test_nearly_lossless_noise_is_written_although_the_buffer_is_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3)).astype(np.uint8)
    tables = [[1] * 64, [1] * 64]
    data = saved(Image.fromarray(noise), "JPEG", qtables=tables, subsampling=0)
    picture = load_picture(data)

    assert len(encode_picture(picture, picture.pixels)) > 500 * 500 * 2


def test_cmyk_without_ink_is_white_for_the_detectors() -> None:
    plane = np.zeros((8, 8, 4), np.uint8)
    plane[4:, :, 3] = 255
    picture = load_picture(saved(Image.frombytes("CMYK", (8, 8), plane.tobytes()), "TIFF"))

    rgb = picture.rgb()

    assert (rgb[:4] == 255).all()
    assert (rgb[4:] == 0).all()


def test_heic_of_10_bits_stays_so() -> None:
    values = photo().astype(np.uint16) * 256
    picture = load_picture(heic(values, "RGB;16", bit_depth=10))

    again = load_picture(encode_picture(picture, picture.pixels))

    assert picture.pixels.dtype == np.uint16
    assert again._decoded.details.bit_depth == 10
    assert np.abs(again.rgb().astype(int) - photo()).max() <= 14


@pytest.mark.parametrize("chroma", [420, 422, 444])
def test_heic_keeps_its_subsampling(chroma: int) -> None:
    picture = load_picture(heic(photo(), chroma=chroma))

    again = load_picture(encode_picture(picture, picture.pixels))

    assert again._decoded.details.chroma == chroma


def test_grey_heic_and_avif_stay_grey() -> None:
    grey = photo(channels=1)[..., 0]
    for data in (heic(grey, "L"), saved(Image.fromarray(photo()), "AVIF", subsampling="4:0:0")):
        picture = load_picture(data)
        again = load_picture(encode_picture(picture, picture.pixels))
        assert picture.pixels.shape == again.pixels.shape == (H, W)


EXIF = {"x010f": "Maker", "x0110": "Model", "x0132": "2024:01:02 03:04:05", "x8298": "Somebody"}


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff", "heic", "avif"])
def test_exif_position_and_icc_stay_unless_stripped(name: str, *, strip: bool) -> None:
    exif = Image.Exif()
    for tag, value in EXIF.items():
        exif[int(tag[1:], 16)] = value
    exif.get_ifd(0x8769).update({0x9003: "2024:01:02 03:04:05", 0x829A: 0.01, 0xA002: 9999, 0xA003: H})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 30.0), 3: "E", 4: (16.0, 22.0, 1.0)})
    data = encoded(name, photo(), exif=exif.tobytes(), icc_profile=SRGB)
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels, keep_metadata="all", strip_metadata=strip)

    again = load_picture(out)
    assert again._decoded.icc == SRGB
    if strip:
        assert not again._decoded.exif.tags
        assert b"Somebody" not in out
        assert b"2024:01" not in out
        return
    image = pillow_heif.open_heif(out).to_pillow() if name == "heic" else opened(out)
    found = image.getexif()
    assert {tag: found[int(tag[1:], 16)] for tag in EXIF} == EXIF
    assert found.get_ifd(0x8825)[2] == (48.0, 12.0, 30.0)
    sub = found.get_ifd(0x8769)
    assert (sub[0x9003], sub[0xA002], sub[0xA003]) == ("2024:01:02 03:04:05", W, H)
    assert float(sub[0x829A]) == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "bmp"])
def test_density_stays_and_turns_with_the_picture(name: str) -> None:
    options = {} if name == "bmp" else {"exif": exif_block(x0112=6)}
    data = encoded(name, photo(), dpi=(300, 150), **options)
    picture = load_picture(data)

    out = opened(encode_picture(picture, picture.pixels))
    stripped = opened(encode_picture(picture, picture.pixels, strip_metadata=True))

    assert out.info["dpi"] == pytest.approx((300, 150), abs=0.1)
    assert stripped.info["dpi"] == pytest.approx((150, 300) if options else (300, 150), abs=0.1)


def test_premultiplied_alpha_of_a_tiff_stays_as_it_is() -> None:
    data = saved(Image.fromarray(photo(channels=4)), "TIFF")
    extra = struct.pack("<HHL", 0x0152, 3, 1)
    data = data.replace(extra + struct.pack("<L", 2), extra + struct.pack("<L", 1))
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels)

    assert extra + struct.pack("<L", 1) in out
    assert np.array_equal(picture.pixels, photo())
    assert np.array_equal(load_picture(out)._decoded.alpha, photo(channels=4)[..., 3])


def test_pixels_cannot_be_changed_in_place() -> None:
    picture = load_picture(saved(Image.fromarray(photo()), "PNG"))

    with pytest.raises(ValueError, match="read-only"):
        picture.pixels[0] = 0


@pytest.mark.parametrize("pixels", [np.zeros((H, W), np.uint8), np.zeros((H, W, 3), np.uint16)])
def test_pixels_of_another_shape_or_dtype_are_refused(pixels: np.ndarray) -> None:
    picture = load_picture(saved(Image.fromarray(photo()), "PNG"))

    with pytest.raises(ValueError, match=r"\(40, 56, 3\) uint8"):
        encode_picture(picture, pixels)


def test_paths_files_and_bytes_are_read_alike(tmp_path: Path) -> None:
    data = saved(Image.fromarray(photo()), "PNG")
    path = tmp_path / "street.xyz"
    path.write_bytes(data)

    pictures = [load_picture(path), load_picture(str(path)), load_picture(data), load_picture(io.BytesIO(data))]

    assert [each.name for each in pictures] == ["street.xyz", "street.xyz", None, None]
    assert all(np.array_equal(each.pixels, photo()) for each in pictures)
    assert {(each.info.format, each.info.media_type, each.info.extension) for each in pictures} == {
        ("png", "image/png", ".png")
    }


@pytest.mark.parametrize("pixels", [photo(), photo(channels=1)[..., 0]])
def test_encode_png_writes_masks(pixels: np.ndarray) -> None:
    assert np.array_equal(np.asarray(opened(encode_png(pixels))), pixels)


def test_encode_png_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_png(np.zeros((4, 4, 4), np.uint8))


def test_real_pictures_keep_format_size_and_look(data: Path) -> None:
    paths = sorted((data / "val").rglob("*.webp"))[::300]
    assert paths
    for path in paths:
        picture = load_picture(path)
        for source in (path.read_bytes(), saved(Image.fromarray(picture.rgb()), "JPEG", quality=90)):
            before = load_picture(source)
            after = load_picture(encode_picture(before, before.pixels))
            assert after.info == before.info
            assert np.abs(after.rgb().astype(int) - before.rgb()).mean() < 3


def test_padding_between_the_segments_of_a_jpeg_is_skipped() -> None:
    data = saved(Image.fromarray(photo()), "JPEG", quality=95)
    tables = data.index(b"\xff\xdb")

    padded = load_picture(data[:tables] + b"\0\0\xff\xff" + data[tables:])

    assert np.array_equal(padded.pixels, load_picture(data).pixels)


@pytest.mark.parametrize("transform", [None, 0, 2])
def test_cmyk_and_ycck_jpegs_stay_cmyk(transform: int | None) -> None:
    """Pillow writes CMYK with Adobe's segment; the test changes it to YCCK, or takes it away."""
    data = saved(Image.frombytes("CMYK", (W, H), photo(channels=4).tobytes()), "JPEG", quality=95)
    adobe = data.index(b"Adobe")
    if transform is None:
        data = data[: adobe - 4] + data[adobe + 12 :]
    else:
        data = data[: adobe + 11] + bytes([transform]) + data[adobe + 12 :]
    picture = load_picture(data)

    out = encode_picture(picture, picture.pixels)

    assert (b"Adobe" in out) == (transform is not None)
    assert np.abs(np.asarray(opened(out)).astype(int) - picture.pixels).max() <= 8


@pytest.mark.parametrize(
    ("compression", "after"),
    [("jpeg", "tiff_adobe_deflate"), ("tiff_lzw", "tiff_lzw"), ("packbits", "packbits"), ("raw", "raw")],
)
def test_a_tiff_keeps_its_compression_unless_it_loses(compression: str, after: str) -> None:
    picture = load_picture(saved(Image.fromarray(photo()), "TIFF", compression=compression))

    result = opened(encode_picture(picture, picture.pixels))

    assert result.info["compression"] == after
    assert np.array_equal(np.asarray(result), picture.pixels)


def test_a_16_bit_tiff_with_white_as_zero_is_shown_as_before() -> None:
    values = photo(channels=1)[..., 0].astype(np.uint16) * 251
    data = saved(Image.fromarray(values), "TIFF")
    row = struct.pack("<HHL", 0x106, 3, 1)
    picture = load_picture(data.replace(row + b"\1\0", row + b"\0\0"))

    assert np.array_equal(picture.pixels, 65535 - values)
    assert np.array_equal(np.asarray(opened(encode_picture(picture, picture.pixels))), 65535 - values)
