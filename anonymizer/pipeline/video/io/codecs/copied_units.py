"""Which units of an H.264 picture (ITU-T H.264, 7.4.1 and annex D) are copied: those that show it, and no others.

FFmpeg's filter `filter_units` keeps or drops messages (SEI) of all kinds alike. Here each message is looked at: a
picture may need its timing, and never needs the positions that a camera writes beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from anonymizer.pipeline.video.io.codecs.nal_units import join, units

__all__ = ["ForeignParameterSet", "copied_packet"]

#: slices of pictures, messages, and parameter sets
_SLICES, _MESSAGES, _PARAMETER_SETS = frozenset({1, 5}), 6, frozenset({7, 8})
#: what only divides pictures, with its length in bytes: access unit delimiter, end of sequence, end of stream
_DIVIDERS = {9: 2, 10: 1, 11: 1}
#: Messages of numbers that a player needs: buffering, timing, recovery, stereo packing, orientation, mastering display,
#: light levels, transfer.
_NEEDED = frozenset({0, 1, 6, 45, 47, 137, 144, 147})
_TIMING, _REGISTERED, _UNREGISTERED = 1, 4, 5
#: x264 names itself, its version and its parameters; FFmpeg's decoder knows by it what old versions did wrong
_X264 = re.compile(
    rb"\xdc\x45\xe9\xbd\xe6\xd9\x48\xb7\x96\x2c\xd8\x20\xd9\x23\xee\xef"
    rb"x264 - core \d+[ \w]* - H\.264/MPEG-4 AVC codec - Copy(left|right) [\d-]+ - http://www\.videolan\.org/x264\.html"
    rb" - options:( \w+=[\w.:,/-]+)*\s*\0?"
)
#: ATSC A/53: the country, provider and kind of closed captions
_CAPTIONS = b"\xb5\0\x31GA94\3"


class ForeignParameterSet(Exception):
    """A packet holds a parameter set that is not in the header of its track."""


def copied_packet(data: bytes, known: Collection[bytes], *, with_times: bool) -> bytes:
    """Leave out of a packet what its picture does not need.

    Args:
        data: of an H.264 packet: units after lengths of four bytes.
        known: the parameter sets in the header of the track, which are not repeated.
        with_times: keep the timing of pictures, which may hold a time of day, and the name of the encoder.

    Returns:
        Slices, and messages of numbers; closed captions, which are shown. The packet itself if it has nothing else.

    Raises:
        ForeignParameterSet: a parameter set in the packet is not known.
    """
    return join(_copied_units(data, known, with_times=with_times), 4)


def _copied_units(data: bytes, known: Collection[bytes], *, with_times: bool) -> Iterator[bytes]:
    for unit in units(data, 4):
        kind = unit[0] & 31 if unit else 0
        if kind in _PARAMETER_SETS and unit not in known:
            raise ForeignParameterSet
        if kind in _SLICES:
            yield unit
        elif kind in _DIVIDERS:
            yield unit[: _DIVIDERS[kind]]
        elif kind == _MESSAGES:
            messages = list(_messages(unit[1:]))
            kept = [
                (of_kind, content) for of_kind, content in messages if _is_kept(of_kind, content, with_times=with_times)
            ]
            if len(kept) == len(messages) and _joined(messages) == unit[1:]:
                yield unit
            elif kept:
                yield unit[:1] + _joined(kept)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The kinds and contents of the messages in a unit; nothing after one that is cut off."""
    data = data.replace(b"\0\0\3", b"\0\0")
    at = 0
    # one byte ends the unit
    while at + 2 < len(data):
        numbers = []
        for _ in range(2):
            number = 0
            while at < len(data) and data[at] == 255:
                number, at = number + 255, at + 1
            numbers.append(number + (data[at] if at < len(data) else 0))
            at += 1
        kind, length = numbers
        if at + length > len(data):
            return
        yield kind, data[at : at + length]
        at += length


def _is_kept(kind: int, content: bytes, *, with_times: bool) -> bool:
    if kind == _REGISTERED:
        # two bytes before the captions, three for each; encoders may leave out the byte after them
        count = content[8] & 31 if len(content) > 8 else 0
        return content.startswith(_CAPTIONS) and len(content) - len(_CAPTIONS) - 3 * count in (2, 3)
    if kind == _UNREGISTERED:
        return with_times and _X264.fullmatch(content) is not None
    return kind in _NEEDED and (with_times or kind != _TIMING)


def _joined(messages: list[tuple[int, bytes]]) -> bytes:
    out = bytearray()
    for kind, content in messages:
        for number in (kind, len(content)):
            out += b"\xff" * (number // 255) + bytes([number % 255])
        out += content
    out.append(0x80)
    # what looks like a start code is broken by a 3
    return re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", bytes(out))
