"""Masks are made smaller in strips: the pixels are those of `masks.scaled`, and memory stays flat."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.images.io import encode_png
from anonymizer.pipeline.outputs import masks, png_strips
from anonymizer.pipeline.outputs.png_strips import scale_mask
from tests.pictures import decoded

RNG = np.random.default_rng(0)


def mask(height: int, width: int, *, instances: bool = False) -> np.ndarray:
    """Boxes on black, white or in colours."""
    out = np.zeros((height, width, 3) if instances else (height, width), np.uint8)
    for _ in range(12):
        y, x = RNG.integers(0, height), RNG.integers(0, width)
        value = RNG.integers(1, 256, 3) if instances else 255
        out[y : y + RNG.integers(1, height // 2 + 2), x : x + RNG.integers(1, width // 2 + 2)] = value
    return out


def scaled(content: bytes, percent: int) -> bytes:
    target = io.BytesIO()
    scale_mask(io.BytesIO(content), target, percent)
    return target.getvalue()


@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (301, 5), (240, 320), (97, 101)])
def test_the_pixels_are_those_of_the_whole_mask(
    size: tuple[int, int], instances: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_strips, "STRIP_BYTES", 2500)
    whole = mask(*size, instances=instances)
    for percent in (1, 3, 33, 50, 77, 99, 100):
        found = decoded(scaled(encode_png(whole), percent))
        assert np.array_equal(found, masks.scaled(whole, percent)), percent


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_files_of_other_encoders_and_filters_are_read_too(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_strips, "STRIP_BYTES", 5000)
    noise = RNG.integers(0, 256, (90, 120) if mode == "L" else (90, 120, 3), np.uint8)
    # smooth, so that Pillow chooses all kinds of filters
    smooth = np.asarray(Image.fromarray(noise).resize((240, 180), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(smooth).save(file, "PNG")
    assert np.array_equal(decoded(scaled(file.getvalue(), 40)), masks.scaled(smooth, 40))


def test_memory_does_not_grow_with_the_mask() -> None:
    peaks = []
    for side in (1000, 3000):
        content = encode_png(np.kron(mask(side // 10, side // 10, instances=True), np.ones((10, 10, 1), np.uint8)))
        tracemalloc.start()
        scaled(content, 99)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 27 MB of pixels; what grows is the compressed result
    assert peaks[1] < peaks[0] + 4 * 2**20, peaks
    assert peaks[1] < 20 * 2**20, peaks


def test_a_broken_mask_is_an_error_never_a_part_of_a_mask() -> None:
    content = encode_png(mask(200, 300))
    header = struct.pack(">LLBBBBB", 300, 200, 16, 0, 0, 0, 0)
    for broken in (
        b"", content[:40], content[: len(content) // 2], content[:16] + header + content[29:], b"x" * 100,
        content[:60] + b"\xff" * 20 + content[80:],
    ):  # fmt: skip
        with pytest.raises(BrokenMedia):
            scaled(broken, 50)
