"""The segments of a JPEG that hold metadata: EXIF, ICC profile and XMP."""

from __future__ import annotations

from collections.abc import Iterable

from anonymizer.pipeline.images.exif_tags import Exif, read_exif
from anonymizer.pipeline.images.metadata.icc import scrub_icc_profile
from anonymizer.pipeline.images.metadata.panorama import Panorama, read_panorama, write_panorama

__all__ = ["Segment", "pack_segments", "read_segments"]

#: Second byte of the marker, and payload.
Segment = tuple[int, bytes]

_APP1, _APP2 = 0xE1, 0xE2
_EXIF, _ICC, _XMP = b"Exif\0", b"ICC_PROFILE\0", b"http://ns.adobe.com/xap/1.0/\0"
#: Bytes of an ICC profile in one segment.
_ICC_PART = 65_000


def read_segments(segments: Iterable[Segment]) -> tuple[Exif, bytes | None, Panorama]:
    """Read the metadata of a JPEG, and scrub it.

    Args:
        segments: those before the first scan, in the order of the file.

    Returns:
        EXIF, the ICC profile or None, and the properties of a panorama. Each is empty if it is missing or damaged.
    """
    app1 = [payload for marker, payload in segments if marker == _APP1]
    exif = next((payload for payload in app1 if payload.startswith(_EXIF)), b"")
    xmp = next((payload for payload in app1 if payload.startswith(_XMP)), b"")
    return read_exif(exif), _icc_profile(segments), read_panorama(xmp.removeprefix(_XMP))


def _icc_profile(segments: Iterable[Segment]) -> bytes | None:
    """The profile, joined from its parts, whose numbers must be complete."""
    parts = sorted(payload[len(_ICC) :] for marker, payload in segments if marker == _APP2 and payload.startswith(_ICC))
    if not parts or [part[0] for part in parts if part] != list(range(1, len(parts) + 1)):
        return None
    return scrub_icc_profile(b"".join(part[2:] for part in parts))


def pack_segments(exif: Exif, icc: bytes | None, panorama: Panorama) -> list[Segment]:
    """Pack metadata into segments; what is empty gets none."""
    segments: list[Segment] = []
    if block := exif.to_bytes():
        segments.append((_APP1, _EXIF + b"\0" + block))
    if packet := write_panorama(panorama):
        segments.append((_APP1, _XMP + packet))
    if icc is not None:
        parts = [icc[i : i + _ICC_PART] for i in range(0, len(icc), _ICC_PART)]
        segments += [(_APP2, _ICC + bytes((i, len(parts))) + part) for i, part in enumerate(parts, 1)]
    return segments
