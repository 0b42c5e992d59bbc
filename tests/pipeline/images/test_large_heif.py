"""What HEIC and AVIF cannot write is refused before the work, large HEIC is written in tiles, and none takes long."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from anonymizer.pipeline.errors import EncoderFailed, TooLarge
from anonymizer.pipeline.images import heif
from anonymizer.pipeline.images.io import check_header, encode_picture, load_picture
from anonymizer.pipeline.limits import Limits
from tests.pipeline.images.test_completeness import saved, smooth

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def heic(pixels: np.ndarray, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    pillow_heif.encode(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes(), out, quality=90, **options)
    return out.getvalue()


def again(data: bytes) -> bytes:
    picture = load_picture(data)
    return encode_picture(picture, picture.pixels)


def with_claimed_size(data: bytes, width: int, height: int) -> bytes:
    changed = bytearray(data)
    at = data.index(b"ispe")
    while at >= 0:
        struct.pack_into(">LL", changed, at + 8, width, height)
        at = data.find(b"ispe", at + 4)
    return bytes(changed)


def rgba(h: int = 48, w: int = 64) -> np.ndarray:
    return np.dstack([smooth(h=h, w=w), np.full((h, w), 200, np.uint8)])


@pytest.mark.parametrize(
    ("name", "size", "has_alpha", "is_refused"),
    [
        ("HEIC", (16320, 12240), False, False),
        ("HEIC", (16320, 12240), True, True),
        ("HEIC", (8192, 4352), True, False),
        ("HEIC", (8192, 4353), True, True),
        ("AVIF", (16320, 12240), False, True),
        ("AVIF", (16320, 12240), True, True),
        ("AVIF", (12500, 8000), True, False),
    ],
)
def test_the_sizes_that_can_be_written(name: str, size: tuple[int, int], *, has_alpha: bool, is_refused: bool) -> None:
    if not is_refused:
        heif._check_writable(*size, name, has_alpha=has_alpha)
        return
    with pytest.raises(TooLarge, match=rf"{size[0]} x {size[1]} pixels .* {name}.* can be written") as caught:
        heif._check_writable(*size, name, has_alpha=has_alpha)
    assert caught.value.status == 413


@pytest.mark.parametrize("check", [load_picture, check_header])
@pytest.mark.parametrize("kind", ["heic-alpha", "avif", "avif-alpha"])
def test_a_file_of_200_megapixels_that_could_not_be_written_is_refused_at_its_header(check, kind: str) -> None:  # type: ignore[no-untyped-def]
    files = {
        "heic-alpha": lambda: heic(rgba(), "RGBA"),
        "avif": lambda: saved(Image.fromarray(smooth(h=48, w=64)), "AVIF"),
        "avif-alpha": lambda: saved(Image.fromarray(rgba()), "AVIF"),
    }

    with pytest.raises(TooLarge, match="16320 x 12240 pixels"):
        check(with_claimed_size(files[kind](), 16320, 12240), limits=Limits(megapixels=400))


def test_a_real_picture_over_a_lowered_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "_MOST_MEGAPIXELS", {"HEIC with alpha": 0.003, "AVIF": 0.003})
    opaque, with_alpha = heic(smooth(h=64, w=64)), heic(rgba(64, 64), "RGBA")

    assert load_picture(opaque).size_hw == (64, 64)
    for data in (with_alpha, saved(Image.fromarray(smooth(h=64, w=64)), "AVIF")):
        with pytest.raises(TooLarge, match=r"64 x 64 pixels \(0\.0 megapixels\)"):
            load_picture(data)


@pytest.mark.parametrize("kind", ["8 bits", "10 bits", "4:4:4", "grey"])
def test_a_large_heic_is_written_in_tiles(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "_TILE_SIDE", 64)
    pixels = smooth(h=150, w=201)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    options: dict[str, object] = {"exif": exif.tobytes(), "icc_profile": SRGB, "chroma": 444}
    if kind == "10 bits":
        data = heic(pixels.astype(np.uint16) * 257, "RGB;16", bit_depth=10, **options)
    elif kind == "grey":
        data = heic(pixels[..., 0].copy(), "L", exif=exif.tobytes())
    else:
        data = heic(pixels, **options | {"chroma": 444 if kind == "4:4:4" else 420})
    picture = load_picture(data)

    out = again(data)

    after = load_picture(out)
    info = pillow_heif.open_heif(out, convert_hdr_to_8bit=False).info
    assert (info["tiling"]["tile_width"], info["bit_depth"]) == (64, 10 if kind == "10 bits" else 8)
    assert info.get("chroma", 444) == (420 if kind == "8 bits" else 444)
    assert after.size_hw == (150, 201)
    assert b"Maker" in out
    scale = 257 if kind == "10 bits" else 1
    assert np.abs(after.pixels.astype(int) - picture.pixels.astype(int)).mean() < 2 * scale
    if kind != "grey":
        assert info["icc_profile"] == pillow_heif.open_heif(data).info["icc_profile"]


def test_a_small_heic_and_one_with_alpha_have_no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not pillow_heif.open_heif(again(heic(smooth()))).info.get("tiling")
    monkeypatch.setattr(heif, "_TILE_SIDE", 64)
    data = heic(rgba(150, 201), "RGBA")
    out = again(data)

    assert not pillow_heif.open_heif(out).info.get("tiling")
    assert np.array_equal(load_picture(out).alpha, load_picture(data).alpha)  # type: ignore[arg-type]


def test_tiles_become_larger_where_there_would_be_too_many() -> None:
    assert heif._tile_side(16320, 12240) == 1024
    assert heif._tile_side(40_000, 40_000) == 2048


def test_a_heic_with_alpha_that_other_programs_could_not_read_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic(rgba(), "RGBA")
    monkeypatch.setattr(heif, "_MOST_CODED_BYTES", 500)

    with pytest.raises(EncoderFailed, match="HEIC picture with alpha"):
        again(data)


def test_writing_takes_less_than_half_the_time_of_the_encoders_own_preset() -> None:
    rng = np.random.default_rng(0)
    pixels = np.clip(smooth(h=1000, w=1000).astype(int) + rng.integers(-20, 21, (1000, 1000, 3)), 0, 255)
    data = heic(pixels.astype(np.uint8), enc_params={"preset": "ultrafast"})
    picture = load_picture(data)

    def seconds(work) -> float:  # type: ignore[no-untyped-def]
        begin = time.process_time()
        work()
        return time.process_time() - begin

    ours = min(seconds(lambda: encode_picture(picture, picture.pixels)) for _ in range(2))
    assert ours < seconds(lambda: heic(picture.pixels)) / 2  # type: ignore[arg-type]
