"""The format of a file, read from its first bytes and never from its name or the type that a client declares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from anonymizer.pipeline.errors import BrokenMedia, InvalidParameter, SourceNotFound, UnsupportedMedia

__all__ = [
    "HEAD_BYTES",
    "IMAGE_FORMATS",
    "MediaInfo",
    "MediaKind",
    "by_format",
    "image_format",
    "is_image_file",
    "open_file",
    "sniff",
]

#: `sniff` needs no more bytes of a file
HEAD_BYTES = 4096


class MediaKind(StrEnum):
    """The kinds of files that can be anonymised."""

    IMAGE = "image"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """A supported format.

    Attributes:
        kind: image or video.
        format: the name of the format: "jpeg".
        media_type: the media type (MIME): "image/jpeg".
        extension: the usual ending of a file name, with its dot: ".jpg".
    """

    kind: MediaKind
    format: str
    media_type: str
    extension: str

    def accepts(self, name: str) -> bool:
        """Whether a file name has an ending of this format."""
        return name.lower().endswith((self.extension, *_OTHER_EXTENSIONS.get(self.format, ())))


_OTHER_EXTENSIONS = {
    "jpeg": (".jpeg", ".jpe", ".jfif"),
    "tiff": (".tiff",),
    "heic": (".heif",),
    "m2ts": (".mts",),
}


def _image(name: str, extension: str) -> MediaInfo:
    return MediaInfo(MediaKind.IMAGE, name, f"image/{name}", extension)


def _video(name: str, media_type: str, extension: str) -> MediaInfo:
    return MediaInfo(MediaKind.VIDEO, name, f"video/{media_type}", extension)


_JPEG, _PNG, _WEBP = _image("jpeg", ".jpg"), _image("png", ".png"), _image("webp", ".webp")
_TIFF, _BMP = _image("tiff", ".tif"), _image("bmp", ".bmp")
_HEIC, _AVIF = _image("heic", ".heic"), _image("avif", ".avif")
_MP4, _MOV = _video("mp4", "mp4", ".mp4"), _video("mov", "quicktime", ".mov")
_MKV, _WEBM = _video("mkv", "x-matroska", ".mkv"), _video("webm", "webm", ".webm")
_AVI, _TS, _M2TS = _video("avi", "x-msvideo", ".avi"), _video("ts", "mp2t", ".ts"), _video("m2ts", "mp2t", ".m2ts")

#: the supported formats of images, by name
IMAGE_FORMATS = {info.format: info for info in (_JPEG, _PNG, _WEBP, _TIFF, _BMP, _HEIC, _AVIF)}
_VIDEOS = {info.format: info for info in (_MP4, _MOV, _MKV, _WEBM, _AVI, _TS, _M2TS)}

_ADVICE = "Send a JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF picture, or an MP4, MOV, MKV, WebM, AVI or MPEG-TS video."

#: files that people do send, so that the error can name them
_REFUSED = (
    (b"GIF8", "a GIF picture"),
    (b"II+\0", "a BigTIFF picture"),
    (b"MM\0+", "a BigTIFF picture"),
    (b"8BPS", "a Photoshop file"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (RAF)"),
    (b"IIU\0", "a camera raw file (RW2)"),
    (b"IIRO", "a camera raw file (ORF)"),
    (b"IIRS", "a camera raw file (ORF)"),
    (b"MMOR", "a camera raw file (ORF)"),
    (b"II\x1a\0\0\0HEAPCCDR", "a camera raw file (CRW)"),
    (b"\0MRM", "a camera raw file (MRW)"),
    (b"FOVb", "a camera raw file (X3F)"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\x01\0", "an icon"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"PK\x05\x06", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"FLV\x01", "a Flash video"),
    (b"\x30\x26\xb2\x75", "a Windows Media file"),
    (b"OggS", "an Ogg file"),
    (b"\0\0\x01\xba", "an MPEG programme stream"),
    (b"\0\0\x01\xb3", "a raw MPEG video stream"),
    (b"fLaC", "a sound file"),
    (b"ID3", "a sound file"),
)

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
_SOUND_BRANDS = {b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "}
#: QuickTime files of old begin with one of these instead of `ftyp`.
_MOV_BOXES = {b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot"}
_BMP_HEADER_BYTES = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(head: bytes) -> MediaInfo:
    """Find the format of a file.

    Args:
        head: the first bytes of the file; 4 KiB are enough, further bytes are ignored.

    Raises:
        BrokenMedia: there are no bytes at all.
        UnsupportedMedia: the format is not supported; the sentence names common formats.
    """
    if not head:
        raise BrokenMedia("The file is empty.")
    head = bytes(head[:HEAD_BYTES])
    found = _signature(head) or _riff(head) or _iso_media(head) or _matroska(head) or _transport_stream(head)
    if found is None:
        raise UnsupportedMedia(f"The file is {_describe(head)}, which is not supported. {_ADVICE}")
    return found


def by_format(name: str) -> MediaInfo:
    """Get the video format of a name, such as "mp4".

    Raises:
        KeyError: there is no such format.
    """
    return _VIDEOS[name]


def image_format(name: str | os.PathLike[str]) -> MediaInfo | None:
    """Get the image format that the ending of a file name stands for; None for any other ending."""
    return next((info for info in IMAGE_FORMATS.values() if info.accepts(os.fspath(name))), None)


def is_image_file(path: Path) -> bool:
    """Whether the name of a file has the ending of an image format, or its bytes are an image.

    A damaged file with such an ending counts: it is to cause an error, not to be passed over.
    """
    if image_format(path) is not None or path.suffix.lower() == ".gif":
        return True
    try:
        with path.open("rb") as file:
            return sniff(file.read(HEAD_BYTES)).kind is MediaKind.IMAGE
    except (BrokenMedia, UnsupportedMedia, OSError):
        return False


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        SourceNotFound: there is no such file.
        InvalidParameter: the path is a folder.
        OSError: the file cannot be read.
    """
    try:
        return Path(path).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise SourceNotFound(f"There is no file {os.fspath(path)}.") from None
    except IsADirectoryError:
        raise InvalidParameter("source", path, "a file, not a folder; `images` takes a folder") from None


def _signature(head: bytes) -> MediaInfo | None:
    if head.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PNG
    if head.startswith((b"II*\0", b"MM\0*")):
        return _TIFF
    if head.startswith(b"BM") and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return _BMP
    return None


def _riff(head: bytes) -> MediaInfo | None:
    if not head.startswith((b"RIFF", b"RF64")):
        return None
    return {b"WEBP": _WEBP, b"AVI ": _AVI}.get(head[8:12])


def _iso_media(head: bytes) -> MediaInfo | None:
    size, box = int.from_bytes(head[:4], "big"), head[4:8]
    if box in _MOV_BOXES and (size >= 8 or size in (0, 1)):
        return _MOV
    if box != b"ftyp" or size < 12:
        return None
    major = head[8:12]
    brands = {major, *(head[i : i + 4] for i in range(16, min(size, len(head)) - 3, 4))}
    if major in _AVIF_BRANDS | _HEIC_BRANDS:
        return _AVIF if brands & _AVIF_BRANDS else _HEIC
    if major in _SOUND_BRANDS or major == b"crx ":
        return None
    return _MOV if major == b"qt  " else _MP4


def _matroska(head: bytes) -> MediaInfo | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    if b"webm" in head[:64]:
        return _WEBM
    return _MKV if b"matroska" in head[:64] else None


def _transport_stream(head: bytes) -> MediaInfo | None:
    """A sync byte every 188 bytes, or every 192 bytes after four bytes of time code (as in .m2ts)."""
    for first, step, info in ((0, 188, _TS), (4, 192, _M2TS)):
        syncs = head[first::step]
        if len(syncs) >= 3 and set(syncs) == {0x47}:
            return info
    return None


def _describe(head: bytes) -> str:
    for start, words in _REFUSED:
        if head.startswith(start):
            return words
    if head[4:8] == b"ftyp":
        return "a camera raw file (CR3)" if head[8:12] == b"crx " else "a sound file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "text" if _is_text(head) else "of an unknown type"


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two where the head ends.
        if len(head) < HEAD_BYTES or error.start < HEAD_BYTES - 4:
            return False
    return b"\0" not in head
