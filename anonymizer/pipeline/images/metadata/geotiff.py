"""Where the picture lies on the map: the tags of GeoTIFF 1.1 (OGC 19-008), and two of others that go with them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping

from anonymizer.pipeline.images.exif_tags import Entry
from anonymizer.pipeline.images.metadata.signatures import holds_picture, text_holds_picture
from anonymizer.pipeline.images.metadata.texts import is_text

__all__ = ["is_geographic"]

_ASCII, _SHORT, _DOUBLE = 2, 3, 12
#: Most tie points (6 numbers each), parameters, keys (4 numbers each), and characters.
_MOST_POINTS, _MOST_PARAMETERS, _MOST_KEYS, _MOST_CHARACTERS = 256, 512, 256, 4096


def is_geographic(tag: int, entry: Entry, order: str) -> bool:
    """Return whether a tag of a TIFF directory is one of GeoTIFF, with a value that it may have.

    Args:
        tag: its number.
        entry: its value.
        order: byte order of the value: "<" or ">".
    """
    if tag not in _TAGS:
        return False
    field_type, fits = _TAGS[tag]
    return entry.field_type == field_type and fits(entry, order) and not holds_picture(entry.value)


def _numbers(*, each: int, most: int) -> Callable[[Entry, str], bool]:
    """A test for finite numbers: so many in a group, and so many groups at most."""

    def fits(entry: Entry, order: str) -> bool:
        count = entry.value_count
        if not 0 < count <= each * most or count % each:
            return False
        return all(map(math.isfinite, struct.unpack(f"{order}{count}d", entry.value)))

    return fits


def _are_keys(entry: Entry, order: str) -> bool:
    """A directory of keys: version 1, and as many keys as it says."""
    if not 4 <= entry.value_count <= 4 * (_MOST_KEYS + 1):
        return False
    numbers = struct.unpack(f"{order}{entry.value_count}H", entry.value)
    return bool(numbers[0] == 1 and len(numbers) == 4 * (numbers[3] + 1))


def _is_short_text(entry: Entry, order: str) -> bool:
    del order
    words = entry.value
    return len(words) <= _MOST_CHARACTERS and is_text(words.decode("latin-1")) and not text_holds_picture(words)


def _is_number(entry: Entry, order: str) -> bool:
    del order
    try:
        float(entry.value.rstrip(b"\0 ").decode("ascii"))
    except ValueError:
        return False
    return len(entry.value) <= 64


#: Pixel scale, tie points, matrix, keys and their numbers and texts; the value of empty pixels; the satellite's model.
_TAGS: Mapping[int, tuple[int, Callable[[Entry, str], bool]]] = {
    33550: (_DOUBLE, _numbers(each=3, most=1)),
    33922: (_DOUBLE, _numbers(each=6, most=_MOST_POINTS)),
    34264: (_DOUBLE, _numbers(each=16, most=1)),
    34735: (_SHORT, _are_keys),
    34736: (_DOUBLE, _numbers(each=1, most=_MOST_PARAMETERS)),
    34737: (_ASCII, _is_short_text),
    42113: (_ASCII, _is_number),
    50844: (_DOUBLE, _numbers(each=92, most=1)),
}
