"""Files that FFmpeg opens and that cannot be anonymised whole: encrypted ones, and several files in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.video.io.containers import mp4_boxes, transport_stream

__all__ = ["check_container"]

#: sample entries of encrypted tracks (ISO/IEC 14496-12, 23001-7), and QuickTime's of Apple's FairPlay
_ENCRYPTED = frozenset((b"encv", b"enca", b"enct", b"encs", b"encm", b"encf", b"drms", b"drmi", b"drmt"))
#: Matroska's ids (RFC 9559): segment, cluster, tracks, entry, encodings, encoding, encryption; and EBML's header
_SEGMENT, _CLUSTER, _TRACKS, _ENTRY = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
_ENCODINGS, _ENCODING, _ENCRYPTION = 0x6D80, 0x6240, 0x5035
_HEADER = b"\x1a\x45\xdf\xa3"
#: the largest list of tracks that is read
_LARGEST_LIST = 2**24


def check_container(file: BinaryIO, name: str, size: int) -> None:
    """Refuse a file that is encrypted, or that holds several videos one after the other.

    Args:
        file: the open file, seekable.
        name: of its format, as `sniff` gives it.
        size: of the file in bytes.

    Raises:
        UnsupportedMedia: it is one of these.
    """
    if name in ("mp4", "mov"):
        _check_boxes(file, size)
    elif name in ("mkv", "webm"):
        _check_elements(file, size)
    elif name in ("ts", "m2ts"):
        transport_stream.check_packets(file)


def _check_boxes(file: BinaryIO, size: int) -> None:
    kinds = [box.kind for box in mp4_boxes.top_level(file, size)]
    # parts of a stream in fragments may repeat their header: all of them are read
    if kinds.count(b"moov") > 1 and b"moof" not in kinds:
        raise _joined()
    index = mp4_boxes.read_index(file, size) or b""
    for track in (box for moov in mp4_boxes.boxes(index) for box in mp4_boxes.children(index, moov)):
        if track.kind == b"trak" and any(entry.kind in _ENCRYPTED for entry in mp4_boxes.sample_entries(index, track)):
            raise _encrypted()


def _check_elements(file: BinaryIO, size: int) -> None:
    segments = [element for element in _elements(file, 0, size) if element[0] == _SEGMENT]
    if not segments:
        return
    _, body, end = segments[0]
    if len(segments) > 1 or (end < size and _begins_file(file, end)):
        raise _joined()
    for number, start, stop in _elements(file, body, end):
        if number == _TRACKS and stop - start <= _LARGEST_LIST:
            if _has_encryption(file, start, stop):
                raise _encrypted()
            return
        if number == _CLUSTER:
            return


def _has_encryption(file: BinaryIO, start: int, end: int) -> bool:
    """Whether a track of the list at this place is encrypted."""
    inner = {_ENTRY, _ENCODINGS, _ENCODING}
    return any(
        number == _ENCRYPTION or (number in inner and _has_encryption(file, body, stop))
        for number, body, stop in list(_elements(file, start, end))
    )


def _begins_file(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return file.read(4) == _HEADER


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Id, position of the content and position after it of EBML elements that follow each other."""
    while start + 2 <= end:
        file.seek(start)
        head = file.read(12)
        id_length = 9 - head[0].bit_length() if head[0] else 0
        if not 1 <= id_length <= 4 or len(head) <= id_length or not head[id_length]:
            return
        length = 9 - head[id_length].bit_length()
        body = start + id_length + length
        value = int.from_bytes(head[id_length : id_length + length], "big") & ((1 << 7 * length) - 1)
        # all bits set: to the end of what is around it
        stop = end if value == (1 << 7 * length) - 1 else body + value
        if stop > end:
            stop = end
        yield int.from_bytes(head[:id_length], "big"), body, stop
        start = stop


def _encrypted() -> UnsupportedMedia:
    return UnsupportedMedia("The video is encrypted (DRM): only one without encryption can be read.")


def _joined() -> UnsupportedMedia:
    return UnsupportedMedia(
        "The file holds several videos one after the other, of which players show the first: send each of them."
    )
