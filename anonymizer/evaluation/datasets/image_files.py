"""Find the image files of a labelled set and read their sizes."""

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
from anonymizer.pipeline.images.decoded import check_size, translate_errors
from anonymizer.pipeline.images.exif_tags import ORIENTATION, read_exif
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaKind, sniff

__all__ = ["PICTURE_ENDINGS", "PictureFinder", "files_below", "path_exists", "upright_size"]

#: File name extensions of images: those of `pipeline.folders`, without the videos.
PICTURE_ENDINGS = frozenset(".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .heic .heif .avif .gif".split())
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
#: EXIF orientations that swap width and height
_TRANSPOSED = range(5, 9)


def files_below(folder: Path, endings: Iterable[str] = PICTURE_ENDINGS) -> list[Path]:
    """List the files in a folder and all folders below it. Links are followed, hidden files are left out.

    Args:
        folder: where to start.
        endings: the file name extensions, in lower case with a dot; default: those of images.

    Returns:
        The files, sorted.
    """
    wanted, files, visited = frozenset(endings), [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        # a link to a folder above would make an endless loop
        real = here.resolve()
        folders[:] = [] if real in visited else sorted(name for name in folders if not name.startswith("."))
        if real not in visited:
            files += [here / name for name in names if not name.startswith(".") and Path(name).suffix.lower() in wanted]
        visited.add(real)
    return sorted(files)


class PictureFinder:
    """Finds the image files that labels name.

    Args:
        folders: the folders that names may be relative to, in the order in which they are searched.
        names: all names in the labels.
    """

    def __init__(self, folders: Sequence[Path], names: Iterable[str]) -> None:
        self.folders = folders
        self._name_counts = Counter(_parts(name).name for name in names)

    def find(self, name: str) -> Path | None:
        """Find an image file.

        Args:
            name: a path relative to one of the folders; its separators may be slashes or backslashes.

        Returns:
            The file of that name. If there is none: the file with the same last part, if there is only one below the
            folders and only one name in the labels ends with it. Otherwise None.
        """
        for folder in self.folders:
            path = folder / _parts(name)
            if path_exists(path) and path.is_file():
                return path
        last = _parts(name).name
        files = self._below.get(last, [])
        return files[0] if len(files) == self._name_counts[last] == 1 else None

    @cached_property
    def _below(self) -> dict[str, list[Path]]:
        below: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted({path for folder in self.folders for path in files_below(folder)}):
            below[path.name].append(path)
        return below


def _parts(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def path_exists(path: Path) -> bool:
    """Tell whether a file or folder exists; False also for names that no file can have.

    Args:
        path: a path from a label file.
    """
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def upright_size(path: Path) -> tuple[int, int]:
    """Read the size of an image from its header, without decoding its pixels.

    Args:
        path: of the image file.

    Returns:
        Height and width in pixels of the upright image, as `load_image` would return it.

    Raises:
        AnonymizerError: the file is not an image, or its header cannot be read.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = sniff(file.read(HEAD_BYTES))
        if info.kind is not MediaKind.IMAGE:
            raise UnsupportedMedia(f"The file is a video ({info.format}), not a picture.")
        file.seek(0)
        with translate_errors(info.format.upper()):
            (width, height), orientation = _header(file, info.format)
    check_size(width, height, Limits())
    return (width, height) if orientation in _TRANSPOSED else (height, width)


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, int], int]:
    """Width and height as stored, and the EXIF orientation."""
    if name == "heic":
        # this is the size of the upright image
        return pillow_heif.open_heif(file, convert_hdr_to_8bit=False).size, 1
    with Image.open(file, formats=[name.upper()]) as picture:
        if name == "tiff":
            # the tags hold the stored size; Pillow would return the upright size
            tags = picture.tag_v2
            return (tags[_TIFF_WIDTH], tags[_TIFF_HEIGHT]), tags.get(ORIENTATION, 1)
        exif = _png_exif(file) if name == "png" else picture.info.get("exif")
        return picture.size, read_exif(exif).orientation if exif else 1


def _png_exif(file: BinaryIO) -> bytes | None:
    """The EXIF chunk of a PNG file. It may follow the pixels; then Pillow sees it only after decoding them."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"eXIf":
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)
    return None
