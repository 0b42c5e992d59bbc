"""Texts in the headers of copied tracks: the comments of Vorbis sound, and what subtitles say about themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping

from anonymizer.pipeline.images.metadata.kept_tags import KeepMetadata
from anonymizer.pipeline.video.io.metadata import kept_of_track

__all__ = ["kept_header"]

#: the start of the comment header of Vorbis
_COMMENTS = b"\3vorbis"
#: sections of SubStation Alpha: fonts, but no pictures ([Graphics]) and no names of files ([Aegisub Project Garbage])
_SECTIONS = frozenset((b"script info", b"v4 styles", b"v4+ styles", b"v4++ styles", b"events", b"fonts"))
#: sections without whose pictures nothing is left of them
_PICTURES = b"graphics"
_LONGEST_NAME = 40
#: keys of the first section that say how lines are drawn
_DRAWN = frozenset(
    b"scripttype playresx playresy playdepth layoutresx layoutresy wrapstyle timer collisions scaledborderandshadow "
    b"kerning ycbcr_matrix".split()
)
#: keys of the header of DVD subtitles, which has comments too
_DVD = re.compile(
    rb"(size|org|scale|alpha|smooth|fadein/out|align|time offset|forced subs|langidx|palette|custom colors|tridx|"
    rb"colors)\s*:"
)


def kept_header(codec: str, header: bytes, keep: KeepMetadata) -> bytes:
    """Leave out of a header the texts that are not kept, and pictures.

    Args:
        codec: FFmpeg's name of the codec.
        header: of a copied track.
        keep: what is kept, as in `kept_of_track`.

    Returns:
        The header; the same bytes if there is nothing to leave out.

    Raises:
        ValueError: the header cannot be read.
    """
    if codec == "vorbis":
        return _of_vorbis(header, keep)
    if codec in ("ass", "ssa"):
        return _of_script(header, keep)
    if keep is KeepMetadata.ALL:
        return header
    if codec == "dvd_subtitle":
        return b"".join(line for line in header.splitlines(keepends=True) if _DVD.match(line))
    if codec == "webvtt":
        return _of_webvtt(header)
    return header


def _of_vorbis(header: bytes, keep: KeepMetadata) -> bytes:
    """Three headers, after their number less one and the lengths of the first two."""
    if len(header) < 3 or header[0] != 2:
        raise ValueError("not three headers")
    at, lengths = 1, []
    for _ in range(2):
        length = 0
        while header[at : at + 1] == b"\xff":
            length, at = length + 255, at + 1
        lengths.append(length + int.from_bytes(header[at : at + 1], "little"))
        at += 1
    first, comments, setup = (
        header[at : at + lengths[0]], header[at + lengths[0] : at + sum(lengths)], header[at + sum(lengths) :]
    )  # fmt: skip
    if not comments.startswith(_COMMENTS) or len(first) != lengths[0] or not setup:
        raise ValueError("no comments of Vorbis")
    vendor, *texts = _read_comments(comments[len(_COMMENTS) :])
    pairs = [text.partition(b"=") for text in texts]
    kept = [
        text for text, (key, _, value) in zip(texts, pairs, strict=True) if _is_kept(_text(key), _text(value), keep)
    ]
    vendor = b"" if keep is KeepMetadata.NONE else vendor
    out = _COMMENTS + _sized(vendor) + len(kept).to_bytes(4, "little") + b"".join(map(_sized, kept)) + b"\1"
    if len(kept) == len(texts) and keep is not KeepMetadata.NONE and out == comments:
        return header
    return b"\2" + b"".join(_lacing(len(part)) for part in (first, out)) + first + out + setup


def _is_kept(key: str, value: str, keep: KeepMetadata) -> bool:
    kept: Mapping[str, str] = {} if keep is KeepMetadata.NONE else kept_of_track({key: value}, keep)
    return bool(kept)


def _read_comments(data: bytes) -> list[bytes]:
    """The vendor, then the comments."""
    at, count = 0, 1
    found: list[bytes] = []
    while len(found) < count:
        length = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + length > len(data):
            raise ValueError("a comment that is cut off")
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
        if len(found) == 1:
            count += int.from_bytes(data[at : at + 4], "little")
            at += 4
    return found


def _of_script(header: bytes, keep: KeepMetadata) -> bytes:
    out, section = [], b"script info"
    for line in header.splitlines(keepends=True):
        bare = line.strip().removeprefix(b"\xef\xbb\xbf").lower()
        # the lines of a font may begin and end alike, and are longer
        if bare.startswith(b"[") and bare.endswith(b"]") and len(bare) < _LONGEST_NAME:
            section = bare[1:-1]
        if section == _PICTURES:
            continue
        if keep is KeepMetadata.ALL or (section in _SECTIONS and _is_drawn(section, bare, keep)):
            out.append(line)
    return b"".join(out)


def _is_drawn(section: bytes, bare: bytes, keep: KeepMetadata) -> bool:
    """Whether a line, in lower case, is no comment, and in the first section no text about the script."""
    if not bare or bare.startswith(b"[") or section == b"fonts":
        return True
    if bare.startswith((b";", b"!:", b"comment:")):
        return False
    key = bare.partition(b":")[0]
    return (
        section != b"script info"
        or key.replace(b" ", b"_") in _DRAWN
        or (key == b"title" and keep is not KeepMetadata.NONE)
    )


def _of_webvtt(header: bytes) -> bytes:
    """The first line without its text, and styles and regions without notes."""
    blocks = re.split(rb"(?:\r?\n){2,}", header)
    kept = [block for block in blocks if re.match(rb"\s*(STYLE|REGION)\b", block)]
    return b"\n\n".join([b"WEBVTT", *kept]) + b"\n" if header.strip() else header


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _lacing(length: int) -> bytes:
    return b"\xff" * (length // 255) + bytes([length % 255])
