"""Limits: the largest files that are accepted, in bytes, pixels and seconds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest image and video that are accepted; all limits are checked before anything is decoded.

    Examples:
        >>> Anonymizer(limits=Limits(megapixels=400))

    Attributes:
        bytes: size of an image file; the whole file is read into memory. Default: 200 MiB.
        megapixels: size of an image, or of one frame of a video. Default: 200.
        video_bytes: size of a video file; it stays on disk. Default: 8 GiB.
        seconds: duration of a video. Default: 4 hours.
    """

    bytes: int = 200 * 2**20
    megapixels: float = 200.0
    video_bytes: int = 8 * 2**30
    seconds: float = 4 * 3600.0
