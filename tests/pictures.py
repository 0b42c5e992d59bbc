"""Make and read pictures in tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def drawn(width: int = 320, height: int = 240, *, seed: int = 0) -> Image.Image:
    """Return a smooth random picture. It compresses like a photo, and has no objects to detect."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 40 + 1, width // 40 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image | None = None, kind: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of a picture file; default: a `drawn` picture as JPEG."""
    file = io.BytesIO()
    (picture or drawn()).save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """Return the pixels of a picture file, (h, w) or (h, w, c)."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)
