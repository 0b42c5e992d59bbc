"""Pictures made in the test."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def drawn(width: int = 320, height: int = 240, *, seed: int = 0) -> Image.Image:
    """A smooth random picture: compresses like a photo, and nothing is found in it."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 40 + 1, width // 40 + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image | None = None, kind: str = "JPEG", **options: object) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    (picture or drawn()).save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """The pixels of a file, (h, w) or (h, w, c)."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.asarray(opened)
