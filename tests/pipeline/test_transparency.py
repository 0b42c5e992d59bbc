"""No plane of a result keeps what was redacted: colours, hidden colours, alpha, indices, palettes, transparent keys."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from anonymizer import Anonymizer, Detections, ObjectType, Options
from anonymizer.examples.builtin import pictures
from anonymizer.pipeline.images.io import encode_picture, load_picture
from anonymizer.pipeline.model_zoo.store import ModelStore
from anonymizer.pipeline.segmentation.mask_rules import BOX as BOX_MASK
from anonymizer.pipeline.tracking.boxes import ious
from tests.fakes import FakeDetector, FakeStore

W, H = 200, 160
BOX = (40, 30, 150, 140)
#: side of the squares of the test pictures, in pixels: finer than a cell of any method, and coarse enough for JPEG
SQUARE = 5
Planes = dict[str, NDArray[np.float64]]


class OneFace(FakeDetector):
    """Detects one face in every image."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        self.calls += 1
        return [Detections(np.array([BOX], np.float32), [0.9], [ObjectType.FACE.number], ["fake"]) for _ in images]


def squares(levels: int = 256, seed: int = 0) -> NDArray[np.uint8]:
    """(H, W) of squares with random values below `levels`."""
    small = np.random.default_rng(seed).integers(0, levels, (H // SQUARE, W // SQUARE), np.uint8)
    return np.kron(small, np.ones((SQUARE, SQUARE), np.uint8))


def colours(channels: int, seed: int = 0) -> NDArray[np.uint8]:
    planes = [squares(seed=seed + number) for number in range(channels)]
    return planes[0] if channels == 1 else np.dstack(planes)


def deep(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * 257


def saved(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, kind, **options)
    return out.getvalue()


def png(bits: int, colour_type: int, plane: NDArray[np.generic], *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of stored values, (h, w) or (h, w, channels)."""
    rows = plane.reshape(len(plane), -1)
    if bits < 8:
        spread = (rows[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(len(rows), -1)
        packed = np.packbits(spread.astype(np.uint8), axis=1)
    else:
        packed = np.ascontiguousarray(rows.astype(f">u{bits // 8}")).view(np.uint8)
    header = struct.pack(">LLBBBBB", plane.shape[1], plane.shape[0], bits, colour_type, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in packed)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    parts = (
        struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    found, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">L", data, at)
        found.setdefault(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return found


def key(*values: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


def keyed(bits: int, channels: int) -> bytes:
    """Squares, half of which have the transparent value 0."""
    plane = colours(channels) % 2**bits if bits < 8 else colours(channels)
    plane = plane.astype(np.uint16) * (257 if bits == 16 else 1)
    plane[squares(2, seed=9) == 0] = 0
    return png(bits, 2 if channels == 3 else 0, plane, key(*[0] * channels))


def palette_png(bits: int, *, alphas: str) -> bytes:
    """Squares of random indices; the colours are the same for all indices if the alphas alone draw them."""
    count = 2**bits
    table = np.random.default_rng(1).integers(0, 256, (count, 3), np.uint8)
    values = {
        "opaque": np.full(count, 255),
        "binary": np.arange(count) % 2 * 255,
        "all": np.linspace(0, 255, count),
        "alone": np.linspace(0, 255, count),
        "same": np.full(count, 255),
    }[alphas].astype(np.uint8)
    if alphas in ("alone", "same"):
        table[:] = 90 if alphas == "alone" else 0
    return png(bits, 3, squares(count), (b"PLTE", table.tobytes()), (b"tRNS", values.tobytes()))


def tiff(pixels: NDArray[np.uint8], *, associated: bool) -> bytes:
    data = bytearray(saved(pixels, "TIFF"))
    # ExtraSamples, of type SHORT and with one value: 2 is unassociated, 1 is associated
    at = data.index(struct.pack("<HHL", 0x0152, 3, 1))
    struct.pack_into("<H", data, at + 8, 1 if associated else 2)
    return bytes(data)


def premultiplied() -> NDArray[np.uint8]:
    rgba = colours(4).astype(np.uint16)
    rgba[..., :3] = rgba[..., :3] * rgba[..., 3:] // 255
    return rgba.astype(np.uint8)


def heif(pixels: NDArray[np.generic], mode: str, **options: object) -> bytes:
    out = io.BytesIO()
    pillow_heif.encode(mode, (W, H), pixels.tobytes(), out, quality=90, chroma=444, **options)
    return out.getvalue()


def held_in_alpha(channels: int, value: int) -> NDArray[np.uint8]:
    return np.dstack([np.full((H, W, channels), value, np.uint8), squares(seed=5)])


MODES: dict[str, Callable[[], bytes]] = {
    **{f"png-grey{bits}": lambda bits=bits: png(bits, 0, squares(2**bits)) for bits in (1, 2, 4, 8)},
    **{f"png-grey{bits}-key": lambda bits=bits: keyed(bits, 1) for bits in (1, 2, 4, 8, 16)},
    **{f"png-rgb{bits}-key": lambda bits=bits: keyed(bits, 3) for bits in (8, 16)},
    **{
        f"png-palette{bits}-{alphas}": lambda bits=bits, alphas=alphas: palette_png(bits, alphas=alphas)
        for bits in (1, 2, 4, 8)
        for alphas in ("opaque", "binary", "all", "alone", "same")
    },
    "png-grey16": lambda: png(16, 0, deep(colours(1))),
    "png-rgb8": lambda: png(8, 2, colours(3)),
    "png-rgb16": lambda: png(16, 2, deep(colours(3))),
    "png-la8": lambda: png(8, 4, colours(2)),
    "png-la16": lambda: png(16, 4, deep(colours(2))),
    "png-rgba8": lambda: png(8, 6, colours(4)),
    "png-rgba16": lambda: png(16, 6, deep(colours(4))),
    "png-rgba8-alpha-follows": lambda: png(8, 6, np.dstack([squares()] * 4)),
    "png-rgba8-held-in-alpha": lambda: png(8, 6, held_in_alpha(3, 128)),
    "png-la16-held-in-alpha": lambda: png(16, 4, deep(held_in_alpha(1, 0))),
    "webp": lambda: saved(colours(3), "WEBP", quality=90),
    "webp-alpha": lambda: saved(colours(4), "WEBP", quality=90, exact=True),
    "webp-lossless-alpha": lambda: saved(colours(4), "WEBP", lossless=True, exact=True),
    "webp-held-in-alpha": lambda: saved(held_in_alpha(3, 255), "WEBP", lossless=True, exact=True),
    "tiff-1": lambda: saved(Image.fromarray(squares(2) > 0), "TIFF", compression="group4"),
    "tiff-l": lambda: saved(colours(1), "TIFF"),
    "tiff-i16": lambda: saved(deep(colours(1)), "TIFF"),
    "tiff-p": lambda: saved(Image.fromarray(colours(3)).quantize(200), "TIFF"),
    "tiff-rgb": lambda: saved(colours(3), "TIFF", compression="tiff_lzw"),
    "tiff-la": lambda: saved(colours(2), "TIFF"),
    "tiff-rgba": lambda: tiff(colours(4), associated=False),
    "tiff-rgba-associated": lambda: tiff(premultiplied(), associated=True),
    "tiff-cmyk": lambda: saved(Image.frombytes("CMYK", (W, H), colours(4).tobytes()), "TIFF"),
    "bmp-1": lambda: saved(Image.fromarray(squares(2) > 0), "BMP"),
    "bmp-p": lambda: saved(Image.fromarray(colours(3)).quantize(200), "BMP"),
    "bmp-rgb": lambda: saved(colours(3), "BMP"),
    "bmp-rgba": lambda: saved(colours(4), "BMP"),
    "jpeg-l": lambda: saved(colours(1), "JPEG", quality=95),
    "jpeg-rgb": lambda: saved(colours(3), "JPEG", quality=95, subsampling=0),
    "jpeg-cmyk": lambda: saved(Image.frombytes("CMYK", (W, H), colours(4).tobytes()), "JPEG", quality=95),
    "heic-rgb": lambda: heif(colours(3), "RGB"),
    "heic-rgba": lambda: heif(colours(4), "RGBA"),
    "heic-rgba10": lambda: heif(deep(colours(4)), "RGBA;16", bit_depth=10),
    "avif-rgb": lambda: saved(colours(3), "AVIF", quality=90, subsampling="4:4:4"),
    "avif-rgba": lambda: saved(colours(4), "AVIF", quality=90, subsampling="4:4:4"),
}  # fmt: skip


def planes_of(data: bytes) -> Planes:
    """Every plane that a program can get out of a file: as stored, and with palette and transparency applied."""
    if data[:4] == b"\x89PNG" and data[24] == 16:
        found = {"stored": cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)}
        if b"tRNS" in chunks_of(data):
            found["shown"] = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    elif data[4:8] == b"ftyp" and data[8:12] != b"avif":
        found = {"stored": np.asarray(pillow_heif.open_heif(data))}
    else:
        with Image.open(io.BytesIO(data)) as image:
            # as one byte a pixel, not as `True` and `False`
            found = {"stored": np.asarray(image.convert("L") if image.mode == "1" else image)}
            if image.mode != "CMYK":
                found["shown"] = np.asarray(image.convert("RGBA"))
    return {
        f"{name} {number}": plane.astype(np.float64)
        for name, array in found.items()
        for number, plane in enumerate(np.moveaxis(np.atleast_3d(array), -1, 0))
        if plane.std() > 0
    }


def fine(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is finer than a cell of the blur, which has a third of the face's side."""
    return plane - cv2.blur(plane, (37, 37))


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return 0.0 if min(one.std(), other.std()) == 0 else abs(float(np.corrcoef(one, other)[0, 1]))


@pytest.mark.parametrize("method", ["blur", "pixelate", "blacken"])
@pytest.mark.parametrize("mode", MODES)
def test_masked_pixels_of_every_plane_are_independent_of_the_original(mode: str, method: str) -> None:
    data = MODES[mode]()
    result = Anonymizer(store=FakeStore(OneFace()), noise_key=b"key").image(data, Options(method=method))
    (region,) = result.regions
    masked = np.zeros((H, W), np.bool_)
    masked[region.crop] = region.alpha == 255
    untouched = result.binary_mask == 0

    before, after = planes_of(data), planes_of(result.encode())

    assert before
    assert masked.mean() > 0.2
    for name, plane in after.items():
        for other, original in before.items():
            assert correlation(plane[masked], fine(original)[masked]) < 0.2, (name, other)
    for name, original in before.items():
        # of the same planes, so that the measure is known to see an original
        if name in after and fine(original)[untouched].std() > 5:
            assert correlation(after[name][untouched], original[untouched]) > 0.9, name


def test_a_palette_does_not_keep_the_colours_of_what_was_redacted() -> None:
    # 16 x 16 pixels, each of which has a colour of its own: the palette is the picture
    table = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    tile = np.arange(256, dtype=np.uint8).reshape(16, 16)
    plane = np.full((H, W), 255, np.uint8)
    plane[60:76, 80:96] = tile
    data = png(8, 3, plane, (b"PLTE", table.tobytes()), (b"tRNS", bytes(range(256))))

    result = Anonymizer(store=FakeStore(OneFace())).image(data, Options(method="pixelate")).encode()

    kept = np.frombuffer(chunks_of(result)[b"PLTE"], np.uint8).reshape(-1, 3)
    used = np.unique(np.asarray(Image.open(io.BytesIO(result))))
    assert len(used) < 32
    assert (kept[np.setdiff1d(np.arange(256), used)] == 0).all()
    assert np.array_equal(kept[used], table[used])
    alphas = np.frombuffer(chunks_of(result)[b"tRNS"], np.uint8)
    assert (alphas[np.setdiff1d(np.arange(256), used)] == 255).all()


def test_a_palette_picture_in_which_nothing_is_found_comes_back_as_it_was() -> None:
    table = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8).tobytes()
    plane = squares(100)
    data = png(8, 3, plane, (b"PLTE", table), (b"tRNS", bytes(range(256))))
    result = Anonymizer(store=FakeStore(OneFace())).image(data, Options(license_plate=True)).encode()
    assert chunks_of(result)[b"PLTE"] == table
    assert chunks_of(result)[b"tRNS"] == bytes(range(256))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(result))), plane)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_values_of_few_bits_keep_their_range(bits: int) -> None:
    values = colours(3).astype(np.uint16) * (257 if bits == 16 else 2 ** (bits - 8))
    result = Anonymizer(store=FakeStore(OneFace())).image(png(16, 2, values), Options(method="pixelate"))
    (region,) = result.regions
    inside = load_picture(result.encode()).pixels[region.crop][region.alpha == 255]
    assert inside.max() < 2**bits
    # cells differ by a part of the range, and not by all of it
    assert 0.02 < inside.std() / 2**bits < 0.2
    assert np.array_equal(result.pixels[result.binary_mask == 0], values[result.binary_mask == 0])


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_palettes_of_other_formats_do_not_keep_colours_either(kind: str) -> None:
    table = np.random.default_rng(2).integers(1, 256, (256, 3), np.uint8)
    plane = np.full((H, W), 255, np.uint8)
    plane[60:76, 80:96] = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(plane)
    image.putpalette(table.tobytes())

    result = Anonymizer(store=FakeStore(OneFace())).image(saved(image, kind), Options(method="pixelate")).encode()

    with Image.open(io.BytesIO(result)) as opened:
        kept = np.array(opened.getpalette()).reshape(-1, 3)
        used = np.unique(np.asarray(opened))
    assert len(used) < 32
    assert (np.delete(kept, used, axis=0) == 0).all()
    assert np.array_equal(kept[used], table[used])


@pytest.mark.parametrize("colour_type", [0, 2])
def test_a_transparent_value_with_more_bits_than_a_sample_has_counts_by_its_lower_ones(colour_type: int) -> None:
    channels = 3 if colour_type else 1
    plane = colours(channels)
    plane[squares(2, seed=9) == 0] = 44
    picture = load_picture(png(8, colour_type, plane, key(*[0x100 + 44] * channels)))
    assert picture.alpha is not None
    clear = (plane == 44) if channels == 1 else (plane == 44).all(axis=2)
    assert np.array_equal(picture.alpha == 0, clear)


def test_an_opaque_object_stays_opaque_and_a_hidden_one_hidden() -> None:
    rgba = colours(4)
    for value in (255, 0):
        rgba[..., 3] = value
        rgba[:5, :5, 3] = 128
        result = Anonymizer(store=FakeStore(OneFace())).image(rgba, Options())
        (region,) = result.regions
        assert result.alpha is not None
        assert (result.alpha[region.crop][region.alpha > 0] == value).all()
        assert np.array_equal(result.alpha[:5, :5], rgba[:5, :5, 3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_alpha_and_palettes_are_redacted_where_the_picture_stands(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for image in (Image.fromarray(colours(4)), Image.fromarray(colours(3)).quantize(64)):
        data = saved(image, "PNG", exif=exif)
        for strip in (False, True):
            options = Options(method="blacken", strip_metadata=strip)
            result = Anonymizer(store=FakeStore(OneFace())).image(data, options)
            again, redacted = load_picture(result.encode()), result.binary_mask > 0
            assert np.array_equal(again.pixels[~redacted], result.picture.pixels[~redacted])
            assert len(np.unique(again.pixels[redacted], axis=0)) == 1
            if result.picture.alpha is not None:
                assert again.alpha is not None
                assert (again.alpha[redacted] == 255).all()
                assert np.array_equal(again.alpha[~redacted], result.picture.alpha[~redacted])


def test_without_a_redacted_alpha_the_alpha_of_the_file_is_written() -> None:
    picture = load_picture(png(8, 6, colours(4)))
    again = load_picture(encode_picture(picture, picture.pixels))
    assert again.alpha is not None
    assert np.array_equal(again.alpha, colours(4)[..., 3])


WAYS = ["over-black", "over-white", "hidden", "held-in-alpha", "negative-in-alpha"]


@pytest.fixture(scope="module")
def anonymizer() -> Anonymizer:
    return Anonymizer(store=ModelStore(device="cpu", models="embedded"))


def best_iou(found: Detections, box: tuple[float, ...]) -> float:
    """IoU of the box that fits best, of those with a score over 0.3."""
    likely = found[found.scores > 0.3]
    return float(ious(np.array(box, np.float32), likely.boxes).max(initial=0))


class OnePerson(OneFace):
    """Detects one person in every image."""

    def detect(self, images: list[NDArray[np.uint8]], side: int) -> list[Detections]:
        return [Detections(np.array([BOX], np.float32), [0.9], [ObjectType.PERSON.number], ["fake"]) for _ in images]


@pytest.mark.parametrize("varies", [True, False])
def test_a_person_whose_outline_alpha_may_draw_is_redacted_as_a_box(varies: bool) -> None:
    rgba = colours(4)
    if not varies:
        rgba[BOX[1] : BOX[3], BOX[0] : BOX[2], 3] = 255
    result = Anonymizer(store=FakeStore(OnePerson())).image(rgba, Options(method="blacken", person=True))
    (mask,) = result.detections.masks
    assert mask is not None
    assert (mask.source == BOX_MASK) == varies
    assert mask.pixels.all() == varies


class TestWhatDetectorsSee:
    @pytest.mark.parametrize("pixels", [colours(3), np.dstack([colours(3), np.full((H, W), 255, np.uint8)])])
    def test_an_opaque_picture_is_looked_at_once(self, pixels: NDArray[np.uint8]) -> None:
        detector = OneFace()
        result = Anonymizer(store=FakeStore(detector)).image(pixels)
        assert result.alpha is None
        once = detector.calls
        detector.calls = 0
        Anonymizer(store=FakeStore(detector)).image(np.ascontiguousarray(pixels[..., :3]))
        assert detector.calls == once

    @pytest.mark.parametrize("call", ["image", "images", "detect"])
    @pytest.mark.parametrize("way", WAYS)
    def test_a_face_is_found_however_transparency_shows_it(self, anonymizer: Anonymizer, way: str, call: str) -> None:
        with Image.open(pictures()[0]) as image:
            face = np.asarray(image.convert("RGB").crop((100, 20, 356, 276)))
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        clear = np.zeros_like(grey)
        rgba = {
            "over-black": np.dstack([np.full_like(face, 255), grey]),
            "over-white": np.dstack([np.zeros_like(face), 255 - grey]),
            "hidden": np.dstack([face, clear]),
            "held-in-alpha": np.dstack([np.full_like(face, 128), grey]),
            "negative-in-alpha": np.dstack([np.full_like(face, 128), 255 - grey]),
        }[way]
        data = saved(rgba, "PNG")
        if call == "detect":
            (found,) = anonymizer.detect(data, ["face"])
        elif call == "image":
            found = anonymizer.image(data, Options(face=True)).detections
        else:
            (result,) = anonymizer.images([data], Options(face=True))
            found = result.detections
        assert best_iou(found, (78, 46, 172, 160)) > 0.5

    def test_a_face_in_a_palette_of_one_colour_with_alphas_is_found(self, anonymizer: Anonymizer) -> None:
        with Image.open(pictures()[0]) as image:
            grey = np.asarray(image.convert("L").crop((100, 20, 356, 276)))
        data = png(8, 3, grey, (b"PLTE", bytes([255] * 768)), (b"tRNS", bytes(range(256))))
        assert best_iou(anonymizer.detect(data, ["face"])[0], (78, 46, 172, 160)) > 0.5

    @pytest.mark.parametrize("bits", [8, 10, 12, 14])
    def test_values_of_few_bits_in_a_file_of_16_fill_the_range(self, bits: int) -> None:
        grey = squares()
        picture = load_picture(png(16, 0, grey.astype(np.uint16) << bits - 8))
        assert np.array_equal(picture.rgb(), np.dstack([grey] * 3))
        assert picture.brightened() is None
        brighter = np.minimum(picture.pixels.astype(int) * 2, 65535).astype(np.uint16)
        shown = np.minimum(brighter >> bits - 8, 255).astype(np.uint8)
        assert np.array_equal(picture.rgb(brighter)[..., 0], shown)

    def test_values_of_16_bits_are_shown_by_their_upper_8(self) -> None:
        picture = load_picture(png(16, 2, deep(colours(3))))
        assert np.array_equal(picture.rgb(), colours(3))
        assert picture.brightened() is None

    def test_a_few_bright_pixels_do_not_hide_values_of_few_bits(self) -> None:
        values = squares().astype(np.uint16) << 4
        values[0, :20] = 65535
        bright = load_picture(png(16, 0, values)).brightened()
        assert bright is not None
        assert np.array_equal(bright[1:, :, 0], squares()[1:])

    @pytest.mark.parametrize("bright", [0, 30])
    def test_a_face_in_10_bits_of_a_file_of_16_is_found(self, anonymizer: Anonymizer, bright: int) -> None:
        with Image.open(pictures()[0]) as image:
            grey = np.asarray(image.convert("L").crop((100, 20, 356, 276)))
        values = grey.astype(np.uint16) << 2
        # as a printed time, or hot pixels
        values[0, :bright] = 65535
        (found,) = anonymizer.detect(png(16, 0, values), ["face"])
        (expected,) = anonymizer.detect(png(8, 0, grey), ["face"])
        assert best_iou(found, tuple(expected.boxes[0])) > 0.9
        assert found.scores.max() > 0.9 * expected.scores.max()
