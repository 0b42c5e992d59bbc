"""Parts that are not in the file: slices of HEIC in grey and in alpha, AVIF, BMP and GIF, each in a fresh process."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anonymizer.pipeline.errors import BrokenMedia, UnsupportedMedia
from anonymizer.pipeline.images import heif
from anonymizer.pipeline.images.in_memory import picture_of_pil
from anonymizer.pipeline.images.io import load_picture
from tests.pipeline.images.test_completeness import _DECODE, heic, is_refused, saved, smooth, without_slice

SLICES = {"x265:slices": "4"}


def with_black_parts(h: int = 512, w: int = 640) -> np.ndarray:
    plane = smooth(h=h, w=w)[..., 0].copy()
    plane[100:200, 100:200] = 0
    return plane


def sliced(kind: str) -> bytes:
    grey = with_black_parts()
    rgb = smooth(1, 512, 640)
    if kind == "grey":
        return heic(grey, "L", enc_params=SLICES)
    if kind == "grey of 10 bits":
        return heic(grey.astype(np.uint16) * 257, "L;16", enc_params=SLICES)
    if kind == "grey of odd size":
        return heic(with_black_parts(511, 333), "L", enc_params=SLICES)
    return heic(np.dstack([rgb, grey]), "RGBA", enc_params=SLICES)


def count_slices(data: bytes) -> int:
    [(start, end)] = [(start, end) for name, start, end in heif._boxes(data, 0, len(data)) if name == b"mdat"]
    count = 0
    while start < end:
        count += 1
        start += 4 + int.from_bytes(data[start : start + 4], "big")
    return count


@pytest.mark.parametrize("kind", ["grey", "grey of 10 bits", "grey of odd size", "alpha"])
def test_a_heic_without_one_slice_of_grey_or_alpha_is_broken(kind: str) -> None:
    data = sliced(kind)

    assert load_picture(data).size_hw in ((512, 640), (511, 333))
    assert count_slices(data) >= 4
    for index in range(count_slices(data)):
        assert is_refused(without_slice(data, index)), index


def avif_cut(data: bytes, share: float) -> bytes:
    """An AVIF whose frame holds a part of its data, with all lengths changed to fit."""
    boxes = list(heif._boxes(data, 0, len(data)))
    [(start, end)] = [(start, end) for name, start, end in boxes if name == b"mdat"]
    [places_end] = [end for name, _, end in boxes if name == b"iloc"]
    item = data[start:end]
    # a temporal delimiter, a sequence header, and the frame with its length in groups of seven bits
    at = 4 + item[3]
    assert (item[0], item[2], item[at]) == (0x12, 0x0A, 0x32)
    length_bytes = next(count for count in range(1, 9) if not item[at + count] & 0x80)
    frame = item[at + 1 + length_bytes :]
    frame = frame[: max(1, int(len(frame) * share))]
    groups = bytes((len(frame) & 127 | 128, len(frame) >> 7 & 127 | 128, len(frame) >> 14))
    item = item[: at + 1] + groups + frame
    head = bytearray(data[: start - 8])
    struct.pack_into(">L", head, places_end - 4, len(item))
    return bytes(head) + struct.pack(">L4s", 8 + len(item), b"mdat") + item


def test_an_avif_that_is_cut_inside_its_tile_is_broken() -> None:
    data = saved(Image.fromarray(smooth()), "AVIF")

    assert load_picture(avif_cut(data, 1)).size_hw == (160, 208)
    for share in (0.05, 0.3, 0.5, 0.8, 0.95, 0.99):
        assert is_refused(avif_cut(data, share)), share


def bmp_of_runs(runs: bytes, bits: int = 8) -> bytes:
    table = b"".join(bytes((i, i, i, 0)) for i in range(2**bits))
    offset = 54 + len(table)
    kind = {8: 1, 4: 2}[bits]
    header = struct.pack("<LllHHLLllLL", 40, 32, 32, 1, bits, kind, len(runs), 0, 0, 2**bits, 0)
    return b"BM" + struct.pack("<LHHL", offset + len(runs), 0, 0, offset) + header + table + runs


@pytest.mark.parametrize("bits", [4, 8])
def test_a_bmp_of_runs_is_not_supported_and_skips_are_never_filled(bits: int) -> None:
    """After 16 of 32 rows, an escape skips pixels that no decoder writes."""
    rows = bytes((32, 7, 0, 0)) * 16
    for end in (b"\0\2\5\5\0\1", b"\0\1", b""):
        data = bmp_of_runs(rows + end, bits)
        with pytest.raises(UnsupportedMedia, match="without compression"):
            load_picture(data)
        with Image.open(io.BytesIO(data)) as image, pytest.raises(BrokenMedia):
            picture_of_pil(image)


def test_a_gif_that_is_cut_is_refused() -> None:
    data = saved(Image.fromarray(smooth()).convert("P"), "GIF")

    for share in (0.3, 0.6, 0.9):
        for tail in (b"", b"\0\x3b"):
            cut = data[: int(len(data) * share)] + tail
            with pytest.raises(UnsupportedMedia, match="GIF"):
                load_picture(cut)
            with Image.open(io.BytesIO(cut)) as image, pytest.raises(BrokenMedia):
                picture_of_pil(image)


def test_nothing_of_these_comes_from_memory(tmp_path: Path) -> None:
    """In a fresh process, after a marker picture: all are refused, whatever unwritten memory holds."""
    marker = Image.fromarray(smooth(9, 512, 640, sigma=1))
    (tmp_path / "0-marker.png").write_bytes(saved(marker, "PNG"))
    avif = saved(Image.fromarray(smooth()), "AVIF")
    files = {f"avif.{share}": avif_cut(avif, share) for share in (0.3, 0.9)}
    for kind in ("grey", "alpha"):
        data = sliced(kind)
        files |= {f"heic-{kind}.{index}": without_slice(data, index) for index in range(count_slices(data))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    for value in ("85", "170"):
        env = {**os.environ, "GLIBC_TUNABLES": f"glibc.malloc.perturb={value}"}
        done = subprocess.run(
            [sys.executable, "-c", _DECODE, str(tmp_path)], env=env, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == dict.fromkeys(files, "BrokenMedia")
