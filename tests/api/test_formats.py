"""Every image format goes through the service and comes back as what it was."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.conftest import Server
from tests.pictures import drawn, encoded

pillow_heif.register_heif_opener()

PICTURE = drawn(160, 120)


def _png16() -> bytes:
    pixels = np.asarray(PICTURE)[..., ::-1].astype(np.uint16) * 257
    return cv2.imencode(".png", pixels)[1].tobytes()


FILES = {
    "jpeg": (encoded(PICTURE), "image/jpeg", "RGB"),
    "jpeg-progressive": (encoded(PICTURE, progressive=True), "image/jpeg", "RGB"),
    "jpeg-grey": (encoded(PICTURE.convert("L")), "image/jpeg", "L"),
    "jpeg-cmyk": (encoded(PICTURE.convert("CMYK")), "image/jpeg", "CMYK"),
    "png": (encoded(PICTURE, "PNG"), "image/png", "RGB"),
    "png-alpha": (encoded(PICTURE.convert("RGBA"), "PNG"), "image/png", "RGBA"),
    "png-palette": (encoded(PICTURE.quantize(64), "PNG"), "image/png", "P"),
    "png-16-bit": (_png16(), "image/png", "RGB"),
    "webp": (encoded(PICTURE, "WEBP"), "image/webp", "RGB"),
    "tiff": (encoded(PICTURE, "TIFF"), "image/tiff", "RGB"),
    "bmp": (encoded(PICTURE, "BMP"), "image/bmp", "RGB"),
    "heic": (encoded(PICTURE, "HEIF"), "image/heic", "RGB"),
    "avif": (encoded(PICTURE, "AVIF"), "image/avif", "RGB"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_format_comes_back_as_it_was(server: Server, kind: str) -> None:
    content, media_type, mode = FILES[kind]
    # a name and a declared type that are wrong: the bytes decide
    answer = server.upload(content, "face=1&debug=1&score=1", name="picture.xyz")
    assert answer.status_code == 201, answer.text
    result = server.get(f"/v1/file/{answer.json()['id']}/anonymised")
    assert result.headers["Content-Type"] == media_type
    with Image.open(io.BytesIO(result.content)) as opened, Image.open(io.BytesIO(content)) as sent:
        assert (opened.size, opened.mode) == ((160, 120), mode)
        difference = np.abs(np.asarray(opened.convert("RGB"), int) - np.asarray(sent.convert("RGB"), int)).mean()
    assert difference < 4
    if kind == "png-16-bit":
        assert cv2.imdecode(np.frombuffer(result.content, np.uint8), cv2.IMREAD_UNCHANGED).dtype == np.uint16
