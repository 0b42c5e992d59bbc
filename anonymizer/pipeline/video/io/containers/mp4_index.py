"""What FFmpeg cannot write into the index of an MP4 or QuickTime file: the descriptions of data tracks, and positions.

FFmpeg copies the packets of any data track, but writes an empty description for most, and then nobody can read them:
`mebx` of Apple's phones, `camm` of Android's, `mett`, `it35`. Their boxes are copied from the source afterwards.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anonymizer.pipeline.video.io.containers.mp4_boxes import (
    Box,
    boxes,
    children,
    find,
    read_index,
    sample_entries,
    top_level,
)
from anonymizer.pipeline.video.io.containers.mp4_leftovers import Positions

__all__ = ["TrackDescription", "read_descriptions", "rewrite_index"]

#: boxes of a track's media that FFmpeg writes itself; what else stands beside them is the media's own header
_WRITTEN = (b"hdlr", b"dinf", b"stbl")
#: the reference of a track to the one that it describes
_DESCRIBES = b"cdsc"
#: by the name of a list of offsets, how many bytes each has
_OFFSETS = {b"stco": 4, b"co64": 8}
_BLOCK = 2**23


@dataclass(frozen=True, slots=True)
class TrackDescription:
    """What says how the samples of a data track are to be read.

    Attributes:
        entry: name of the format, four characters.
        handler: the box `hdlr`.
        media_header: the boxes beside it that belong to this kind of media.
        samples: the box `stsd`.
        describes: ids of the tracks that it describes.
    """

    entry: str
    handler: bytes
    media_header: bytes
    samples: bytes
    describes: tuple[int, ...]


def read_descriptions(path: Path) -> dict[int, TrackDescription]:
    """Read the descriptions of all tracks that have one format from their first sample to their last.

    Args:
        path: of the source.

    Returns:
        By track id.
    """
    with path.open("rb") as file:
        data = read_index(file, path.stat().st_size) or b""
    found = {}
    for track in (box for moov in boxes(data) for box in children(data, moov) if box.kind == b"trak"):
        entries, number = sample_entries(data, track), _track_id(data, track)
        handler, media = find(data, track, b"mdia", b"hdlr"), find(data, track, b"mdia", b"minf")
        samples = find(data, track, b"mdia", b"minf", b"stbl", b"stsd")
        if len(entries) == 1 and number and handler and media and samples:
            header = b"".join(box.of(data) for box in children(data, media) if box.kind not in _WRITTEN)
            name = entries[0].kind.decode("latin-1").strip()
            found[number] = TrackDescription(name, handler.of(data), header, samples.of(data), _described(data, track))
    return found


def rewrite_index(
    path: Path, descriptions: Mapping[int, TrackDescription], ids: Mapping[int, int], positions: Positions | None
) -> bool:
    """Put descriptions and positions into a finished file, and move its index to the front.

    Args:
        path: of the file, which is replaced.
        descriptions: by the number of the track in the file, from 0 up.
        ids: by track id of the source, the number of the track in the file.
        positions: of a dashboard camera; None: there are none.

    Returns:
        Whether the positions fit in; True if there are none.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: the file has no index.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        data, order = read_index(file, size), list(top_level(file, size))
        if data is None:
            raise ValueError("The file has no index.")
        moov = next(box for box in order if box.kind == b"moov")
        # in front of the first box that offsets point into
        front = next(box.start for box in order if box.kind not in (b"ftyp", b"moov"))
        index = _edited(data, descriptions, ids)
        rest = size - (moov.end - moov.start)
        listed = b""
        if positions is not None:
            with suppress(ValueError):
                listed = positions.list_box(rest + len(index) + positions.size)
        index = _box(b"moov", index[8:], listed)
        moved = _shifted(index, len(index) - (moov.end - moov.start if moov.start < front else 0))
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as out:
                for box in order:
                    if box.start == front and moved is not None:
                        out.write(moved)
                    if box.kind != b"moov":
                        file.seek(box.start)
                        _copy(file, out, box.end - box.start)
                if moved is None:
                    # offsets of four bytes do not reach so far: the index stays behind, where it was
                    out.write(_shifted(index, -(moov.end - moov.start) if moov.start < front else 0) or index)
                if positions is not None and listed:
                    out.writelines(positions.contents())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return positions is None or bool(listed)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0:
        block = source.read(min(size, _BLOCK))
        if not block:
            return
        target.write(block)
        size -= len(block)


def _track_id(data: bytes, track: Box) -> int:
    header = find(data, track, b"tkhd")
    if header is None:
        return 0
    # two dates before it, of eight bytes each in version 1
    return int(struct.unpack_from(">I", data, header.body + (20 if data[header.body] == 1 else 12))[0])


def _described(data: bytes, track: Box) -> tuple[int, ...]:
    reference = find(data, track, b"tref", _DESCRIBES)
    if reference is None:
        return ()
    return struct.unpack_from(f">{(reference.end - reference.body) // 4}I", data, reference.body)


def _box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def _edited(data: bytes, descriptions: Mapping[int, TrackDescription], ids: Mapping[int, int]) -> bytes:
    (moov,) = boxes(data)
    tracks = [box for box in children(data, moov) if box.kind == b"trak"]
    new_ids = {was: _track_id(data, tracks[number]) for was, number in ids.items() if number < len(tracks)}
    parts: list[bytes] = []
    for box in children(data, moov):
        number = tracks.index(box) if box.kind == b"trak" else None
        if number is None or number not in descriptions:
            parts.append(box.of(data))
            continue
        parts.append(_track(data, box, descriptions[number], new_ids))
    return _box(b"moov", *parts)


def _track(data: bytes, track: Box, description: TrackDescription, new_ids: Mapping[int, int]) -> bytes:
    described = [new_ids[number] for number in description.describes if number in new_ids]
    parts: list[bytes] = []
    for box in children(data, track):
        if box.kind == b"mdia":
            if described:
                parts.append(_box(b"tref", _box(_DESCRIBES, *(struct.pack(">I", number) for number in described))))
            parts.append(_box(b"mdia", *(_media(data, child, description) for child in children(data, box))))
        elif box.kind != b"tref":
            parts.append(box.of(data))
    return _box(b"trak", *parts)


def _media(data: bytes, box: Box, description: TrackDescription) -> bytes:
    if box.kind == b"hdlr":
        return description.handler
    if box.kind != b"minf":
        return box.of(data)
    kept: Sequence[Box] = [child for child in children(data, box) if child.kind in _WRITTEN]
    return _box(b"minf", description.media_header, *(_samples(data, child, description) for child in kept))


def _samples(data: bytes, box: Box, description: TrackDescription) -> bytes:
    if box.kind != b"stbl":
        return box.of(data)
    parts = [description.samples if child.kind == b"stsd" else child.of(data) for child in children(data, box)]
    return _box(b"stbl", *parts)


def _shifted(index: bytes, by: int) -> bytes | None:
    """The index with all offsets moved on; None: an offset of four bytes would be too large."""
    data = bytearray(index)
    (moov,) = boxes(index)
    for track in (box for box in children(index, moov) if box.kind == b"trak"):
        table = find(index, track, b"mdia", b"minf", b"stbl")
        for box in () if table is None else children(index, table):
            if size := _OFFSETS.get(box.kind):
                (count,) = struct.unpack_from(">I", index, box.body + 4)
                form = f">{count}{'I' if size == 4 else 'Q'}"
                offsets = [offset + by for offset in struct.unpack_from(form, index, box.body + 8)]
                if size == 4 and max(offsets, default=0) >= 2**32:
                    return None
                struct.pack_into(form, data, box.body + 8, *offsets)
    return bytes(data)
