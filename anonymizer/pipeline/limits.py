"""What is too large: limits on bytes, pixels and seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may have at most; all are checked before anything is decoded.

    Attributes:
        bytes: of a picture, which is read into memory.
        megapixels: of a picture or a frame.
        video_bytes: of a video, which stays on disk.
        seconds: of a video.
    """

    bytes: int = 200 * 2**20
    megapixels: float = 200.0
    video_bytes: int = 8 * 2**30
    seconds: float = 4 * 3600.0
