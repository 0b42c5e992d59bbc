"""Damage in the middle of the data: what libjpeg and libtiff only warn of is an error, and what is harmless is not."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from anonymizer.pipeline.errors import BrokenMedia
from anonymizer.pipeline.images.decoder_checks import client
from anonymizer.pipeline.images.decoder_checks.client import can_decode, jpeg_warnings, tiff_warnings
from anonymizer.pipeline.images.exif_tags import Entry, pack_directory, read_directory, read_header, read_integers
from anonymizer.pipeline.images.io import check_header, load_picture

H, W = 160, 208


def textured(seed: int = 0, h: int = H, w: int = W) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((h, w, 3)), (1, 1, 0))
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


# JPEG

JPEGS: dict[str, dict[str, object]] = {
    "sequential": {},
    "4:4:4": {"subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 20},
    "optimised": {"optimize": True},
    "grey": {},
    "CMYK": {},
}
#: A decoder often finds into step again after a few bytes, at the same coded unit. These are several units.
DAMAGE = {
    "bytes are missing": lambda data, at: data[:at] + data[at + 1500 :],
    "bytes are too many": lambda data, at: data[:at] + data[at : at + 1500] + data[at:],
}


def jpeg(kind: str, seed: int = 0) -> bytes:
    mode = {"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB")
    return saved(Image.fromarray(textured(seed)).convert(mode), "JPEG", quality=80, **JPEGS[kind])


def place(data: bytes, share: float) -> int:
    """An offset in the coded data, away from markers."""
    start = data.index(b"\xff\xda") + 20
    at = start + int((len(data) - start) * share)
    return at + data[at:].index(b"\x55") if data[at - 1 : at] == b"\xff" else at


def is_refused(data: bytes) -> bool:
    try:
        load_picture(data)
    except BrokenMedia as error:
        assert error.status == 422
        return True
    return False


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_with_damage_in_its_middle_is_broken(kind: str, damage: str, share: float) -> None:
    data = jpeg(kind)

    assert not is_refused(data)
    assert is_refused(DAMAGE[damage](data, place(data, share)))


def test_flipped_bits_are_refused_wherever_libjpeg_warns() -> None:
    """One bit is wrong, at 60 places: a picture with a warning is never accepted, and some have one."""
    warned = 0
    for kind in JPEGS:
        data = jpeg(kind)
        rng = np.random.default_rng(3)
        for _ in range(60):
            flipped = bytearray(data)
            flipped[int(rng.integers(data.index(b"\xff\xda") + 20, len(data) - 2))] ^= 1 << int(rng.integers(8))
            if jpeg_warnings(bytes(flipped)):
                warned += 1
                assert is_refused(bytes(flipped))
    assert warned > 50


@pytest.mark.parametrize("kind", ["sequential", "restarts", "optimised", "grey"])
def test_what_is_harmless_in_a_jpeg_is_no_damage(kind: str) -> None:
    data = jpeg(kind)
    start = data.index(b"\xff\xda")
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    harmless = {
        "one byte before the end": data[:-2] + b"\x5a" + data[-2:],
        "zeros before the end": data[:-2] + bytes(3000) + data[-2:],
        "fill bytes before the end": data[:-2] + b"\xff" * 7 + data[-2:],
        "bytes between two segments": data[:start] + b"\x12\x34\x56" + data[start:],
        "zeros in the scan header": data[: start + length - 1] + bytes(3) + data[start + length + 2 :],
        "another revision of JFIF": data.replace(b"JFIF\0\x01", b"JFIF\0\x07", 1),
        "data after the end": data + data[-3000:],
    }

    for name, file in harmless.items():
        assert np.array_equal(load_picture(file).pixels, load_picture(data).pixels), name
        check_header(file)


def test_zeros_in_place_of_the_last_rows_are_damage() -> None:
    for kind in ("sequential", "optimised", "grey"):
        data = jpeg(kind)
        cut = data.index(b"\xff\xda") + (len(data) - data.index(b"\xff\xda")) * 3 // 4

        assert is_refused(data[:cut].rstrip(b"\xff") + bytes(5 * len(data)) + b"\xff\xd9")


# TIFF


def with_strips(data: bytes, strips: list[bytes]) -> bytes:
    """A TIFF with other coded data in its strips."""
    order, at = read_header(data)
    page, _ = read_directory(data, order, at)
    places = [len(data) + sum(map(len, strips[:index])) for index in range(len(strips))]
    for tag, numbers in ((0x0111, places), (0x0117, [len(strip) for strip in strips])):
        page[tag] = Entry(4, len(numbers), struct.pack(f"{order}{len(numbers)}L", *numbers))
    body = data + b"".join(strips)
    body += bytes(len(body) % 2)
    return body[:4] + struct.pack(order + "L", len(body)) + body[8:] + pack_directory({**page}, order, at=len(body))


def strips_of(data: bytes) -> list[bytes]:
    order, at = read_header(data)
    page, _ = read_directory(data, order, at)
    places = zip(read_integers(page[0x0111], order), read_integers(page[0x0117], order), strict=True)
    return [data[start : start + length] for start, length in places]


def tiff(mode: str, compression: str, *, rows: int = 40, height: int = H, **tags: int) -> bytes:
    image = Image.fromarray(textured(h=height)).convert(mode)
    return saved(image, "TIFF", compression=compression, tiffinfo={0x0116: rows, **tags})


TIFFS = [
    *(("1", "tiff_ccitt"), ("1", "group3"), ("1", "group4"), ("1", "tiff_lzw"), ("1", "packbits"), ("L", "tiff_lzw")),
    *(("RGB", "tiff_lzw"), ("RGB", "packbits"), ("RGB", "tiff_adobe_deflate"), ("RGB", "jpeg"), ("L", "jpeg")),
    *(("I;16", "tiff_lzw"), ("L", "tiff_deflate")),
]


@pytest.mark.parametrize(("mode", "compression"), TIFFS)
def test_a_tiff_with_damage_in_one_strip_is_broken(mode: str, compression: str) -> None:
    data = tiff(mode, compression)
    strips = strips_of(data)

    assert np.array_equal(load_picture(with_strips(data, strips)).pixels, load_picture(data).pixels)
    for index in range(len(strips)):
        strip = strips[index]
        half = len(strip) // 2
        missing, zeros = strip[: half - 9] + strip[half:], strip[:half] + bytes(9) + strip[half + 9 :]
        doubled = strip[:half] + strip[half - 700 :]
        kinds = {"jpeg": [doubled], "tiff_lzw": [missing], "packbits": [missing]}
        for spoilt in kinds.get(compression, [missing, zeros]):
            assert is_refused(with_strips(data, [*strips[:index], spoilt, *strips[index + 1 :]]))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_strip_that_goes_on_after_its_last_row_is_broken(compression: str) -> None:
    """The strip has one byte more than its rows need, as damage before its end makes it."""
    data = tiff("L", compression)
    strips = strips_of(data)
    [longer] = strips_of(
        saved(
            Image.frombytes("L", (40 * W + 1, 1), textured()[:41, :, 0].tobytes()[: 40 * W + 1]),
            "TIFF",
            compression=compression,
        )
    )

    for index in range(len(strips)):
        assert is_refused(with_strips(data, [*strips[:index], longer, *strips[index + 1 :]]))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_last_strip_that_is_filled_up_is_read(compression: str) -> None:
    data = tiff("L", compression, height=150)
    strips = strips_of(data)
    full = strips_of(tiff("L", compression, height=160))[-1]

    assert len(strips) == 4
    assert load_picture(with_strips(data, [*strips[:3], full])).size_hw == (150, W)


def test_a_wrong_checksum_in_a_tiff_is_damage() -> None:
    data = tiff("RGB", "tiff_adobe_deflate")
    strips = strips_of(data)
    rows = bytearray(zlib.decompress(strips[1]))
    rows[100:200] = bytes(100)
    other = zlib.compress(bytes(rows))[:-4] + strips[1][-4:]

    assert is_refused(with_strips(data, [strips[0], other, *strips[2:]]))
    assert is_refused(with_strips(data, [strips[0], strips[1][:-4], *strips[2:]]))


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3"])
def test_a_sound_fax_is_read(compression: str, photometric: int) -> None:
    for width in (1, 9, 1728):
        image = Image.fromarray(textured(w=max(width, 2))[:, :width]).convert("1")
        data = saved(image, "TIFF", compression=compression, tiffinfo={0x0106: photometric})

        assert np.array_equal(load_picture(data).pixels == 255, np.asarray(image))


# the process that tells the warnings


def test_the_decoder_is_started_again_when_it_was_killed() -> None:
    data = jpeg("sequential")
    jpeg_warnings(data)
    process = client._decoders[-1]._process
    assert process is not None

    process.kill()
    process.wait()

    assert jpeg_warnings(data) == []
    assert client._decoders[-1]._process is not process


def test_ctrl_c_does_not_end_the_decoder() -> None:
    data = jpeg("sequential")
    jpeg_warnings(data)
    process = client._decoders[-1]._process
    assert process is not None

    process.send_signal(signal.SIGINT)

    assert jpeg_warnings(data) == []
    assert client._decoders[-1]._process is process


def test_threads_get_their_own_answers() -> None:
    sound = jpeg("sequential")
    broken = DAMAGE["bytes are missing"](sound, place(sound, 0.5))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(jpeg_warnings, [sound, broken] * 20))

    assert [bool(warnings) for warnings in found] == [False, True] * 20


def test_what_is_no_picture_cannot_be_decoded() -> None:
    assert jpeg_warnings(b"nothing")
    assert tiff_warnings(b"nothing")
    assert can_decode([b"nothing", tiff("L", "tiff_lzw")]) == [False, True]
    assert can_decode([]) == []


_FORK = """
import os, sys
from anonymizer.pipeline.images.decoder_checks import client
file = open(sys.argv[1], "rb").read()
assert client.jpeg_warnings(file) == []
own = client._decoders[-1]._process.pid
child = os.fork()
if not child:
    try:
        same = client.jpeg_warnings(file) == [] and client._decoders[-1]._process.pid != own
        client._decoders[-1].stop()
    finally:
        os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
assert client.jpeg_warnings(file) == []
print(own)
"""


def test_a_forked_process_has_its_own_decoder_and_none_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg("sequential"))

    done = subprocess.run([sys.executable, "-c", _FORK, str(path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
