"""What of EXIF is kept: all known tags, or only the technical ones, without names and free texts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

__all__ = ["IS_JSON_ONLY", "NAMES", "KeepMetadata"]

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825


class KeepMetadata(StrEnum):
    """What is kept of EXIF and of what belongs to it: everything that is known, technical values only, or nothing.

    Thumbnails, previews, maker notes and private tags are never kept.
    """

    ALL = "all"
    TECHNICAL = "technical"
    NONE = "none"


#: Tags that are not technical, by directory (0 is the main one). They name people and devices, or describe the picture:
#: Artist, HostComputer, Copyright, title, comment, author, keywords and subject of Windows.
NAMES: Mapping[int, frozenset[int]] = {
    0: frozenset({0x013B, 0x013C, 0x8298, *range(0x9C9B, 0x9CA0)}),
    # ImageUniqueID, CameraOwnerName, BodySerialNumber, LensSerialNumber, ImageTitle, Photographer, ImageEditor
    _EXIF_IFD: frozenset({0xA420, 0xA430, 0xA431, 0xA435, 0xA436, 0xA437, 0xA438}),
    # GPSAreaInformation
    _GPS_IFD: frozenset({0x001C}),
}
#: Texts that are technical where they are JSON, as mapping tools write it: ImageDescription and UserComment.
IS_JSON_ONLY: Mapping[int, frozenset[int]] = {0: frozenset({0x010E}), _EXIF_IFD: frozenset({0x9286})}
