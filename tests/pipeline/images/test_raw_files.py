"""Camera raw files are refused by name, encrypted or not: what a reader finds in them is a preview."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.images.exif_tags import Entry, pack_directory, read_directory, read_header
from anonymizer.pipeline.images.io import check_header, load_picture

PREVIEW = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8))


def tiff(**tags: Entry) -> bytes:
    """A TIFF of a preview with more tags, named by number: t0106=Entry(...)."""
    out = io.BytesIO()
    PREVIEW.save(out, "TIFF")
    data = out.getvalue()
    order, at = read_header(data)
    page, _ = read_directory(data, order, at)
    page |= {int(name[1:], 16): entry for name, entry in tags.items()}
    at = len(data) + len(data) % 2
    body = data[8:] + bytes(len(data) % 2)
    return data[:4] + struct.pack(order + "L", at) + body + pack_directory({**page}, order, at=at)


def number(value: int) -> Entry:
    return Entry(4, 1, struct.pack("<L", value))


def with_sub_directory(photometric: int, compression: int) -> bytes:
    sub = pack_directory({0x0103: number(compression), 0x0106: number(photometric)}, "<", at=8)
    data = tiff(t014a=number(0))
    at = len(data)
    row = struct.pack("<HHL", 0x014A, 4, 1)
    place = data.index(row) + len(row)
    return data[:place] + struct.pack("<L", at) + data[place + 4 :] + sub


FILES = {
    "DNG": lambda: tiff(tc612=Entry(1, 4, b"\1\7\0\0")),
    # a DNG whose raw data are encrypted: only the preview can be read
    "encrypted DNG": lambda: tiff(tc612=Entry(1, 4, b"\1\4\0\0"), tc634=Entry(1, 8, b"ENCRYPT\0"), t0103=number(99)),
    "CR2": lambda: tiff()[:8] + b"CR\2\0" + tiff()[12:],
    "preview and raw": lambda: tiff(t00fe=number(1)),
    "filter array": lambda: tiff(t0106=number(32803)),
    "linear": lambda: tiff(t0106=number(34892)),
    "NEF compression": lambda: tiff(t0103=number(34713)),
    "PEF compression": lambda: tiff(t0103=number(65535)),
    "filter array in a sub-directory": lambda: with_sub_directory(32803, 1),
    "ARW compression in a sub-directory": lambda: with_sub_directory(1, 32767),
    "RAF": lambda: b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "RW2": lambda: b"IIU\0\x18\0\0\0" + bytes(100),
    "ORF": lambda: b"IIRO\x08\0\0\0" + bytes(100),
    "CRW": lambda: b"II\x1a\0\0\0HEAPCCDR" + bytes(100),
    "MRW": lambda: b"\0MRM" + bytes(100),
    "X3F": lambda: b"FOVb" + bytes(100),
    "CR3": lambda: struct.pack(">L", 24) + b"ftypcrx \0\0\0\1crx isom" + bytes(64),
}


@pytest.mark.parametrize("check", [load_picture, check_header])
@pytest.mark.parametrize("name", FILES)
def test_a_raw_file_is_refused_by_name(name: str, check) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedMedia, match="camera raw file") as caught:
        check(FILES[name]())
    assert caught.value.status == 415
    kind = name.removeprefix("encrypted ")
    if kind.isupper() or kind in ("CR2", "CR3", "RW2", "X3F"):
        assert f"({kind})" in str(caught.value)


def test_a_tiff_with_a_thumbnail_in_a_sub_directory_is_no_raw_file() -> None:
    assert load_picture(with_sub_directory(2, 1)).size_hw == (48, 64)
    # the offset lies outside the file
    assert load_picture(tiff(t014a=number(2**31))).size_hw == (48, 64)
