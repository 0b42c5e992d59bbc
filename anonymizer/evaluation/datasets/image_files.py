"""Where the pictures of a labelled set lie, and how large they are."""

from __future__ import annotations

import os
import struct
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pillow_heif
from PIL import Image

from anonymizer.pipeline.errors import UnsupportedMedia
from anonymizer.pipeline.images.decoded import check_size, translated
from anonymizer.pipeline.images.exif_tags import ORIENTATION, read_exif
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff

__all__ = ["PICTURE_ENDINGS", "Pictures", "files_below", "is_there", "upright_size"]

#: With these endings a file is meant to be a picture (those of `pipeline.batch`, less the videos).
PICTURE_ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif".split())
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
#: EXIF orientations with width and height exchanged
_TURNED = range(5, 9)


def files_below(folder: Path, endings: Iterable[str] = PICTURE_ENDINGS) -> list[Path]:
    """Every file with one of the endings (lower case), sorted; hidden ones are passed over, links are followed."""
    wanted, found, seen = frozenset(endings), [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        # a link that leads back up would never end
        real = here.resolve()
        folders[:] = [] if real in seen else sorted(each for each in folders if not each.startswith("."))
        if real not in seen:
            found += [here / each for each in names if not each.startswith(".") and Path(each).suffix.lower() in wanted]
        seen.add(real)
    return sorted(found)


class Pictures:
    """Finds the pictures that labels name.

    Args:
        folders: where names may begin; the first that has a file of that name wins.
        names: all names that are asked for.
    """

    def __init__(self, folders: Sequence[Path], names: Iterable[str]) -> None:
        self.folders = folders
        self._asked = Counter(_parts(name).name for name in names)

    def find(self, name: str) -> Path | None:
        """The file of that name, else the only one below the folders that has its last part."""
        for folder in self.folders:
            path = folder / _parts(name)
            if is_there(path) and path.is_file():
                return path
        last = _parts(name).name
        found = self._below.get(last, [])
        return found[0] if len(found) == self._asked[last] == 1 else None

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        below: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted({path for folder in self.folders for path in files_below(folder)}):
            below[path.name].append(path)
        return below


def _parts(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; no also for names that no file can have."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels of a picture as `load_picture` gives it, from its header alone.

    Raises:
        AnonymizerError: it is no picture, or the header cannot be read.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = sniff(file.read(HEAD_BYTES))
        if info.kind is not MediaKind.IMAGE:
            raise UnsupportedMedia(f"The file is a video ({info.format}), not a picture.")
        file.seek(0)
        with translated(info.format.upper()):
            (width, height), orientation = _header(file, info.format)
    check_size(width, height, Limits())
    return (width, height) if orientation in _TURNED else (height, width)


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the orientation."""
    if name == "heic":
        # its size is that of the upright picture
        return pillow_heif.open_heif(file, convert_hdr_to_8bit=False).size, 1
    with Image.open(file, formats=[name.upper()]) as picture:
        if name == "tiff":
            # by its tags: Pillow has turned the size already
            tags = picture.tag_v2
            return (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]), tags.get(ORIENTATION, 1)
        exif = _png_exif(file) if name == "png" else picture.info.get("exif")
        return picture.size, read_exif(exif).orientation if exif else 1


def _png_exif(file: BinaryIO) -> bytes | None:
    """The chunk may lie behind the pixels, where Pillow sees it only once it has decoded them."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return None
