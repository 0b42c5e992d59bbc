"""What a caller may hand over as one image or as many: paths, bytes, files, arrays, PIL images, folders and globs."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anonymizer.pipeline.errors import InvalidParameter, SourceNotFound
from anonymizer.pipeline.files.walk import OnUnsearched, walk_files
from anonymizer.pipeline.images.in_memory import picture_of_array, picture_of_pil
from anonymizer.pipeline.images.io import Picture, load_picture
from anonymizer.pipeline.limits import Limits
from anonymizer.pipeline.media_kinds import is_image_file

__all__ = ["Source", "Sources", "expand_sources", "load_source", "source_name"]

#: one image
Source = str | os.PathLike[str] | bytes | BinaryIO | NDArray[Any] | Image.Image
#: one image or many
Sources = Source | Iterable[Source]

_log = logging.getLogger("anonymizer")
_ALLOWED = "a path, bytes, a binary file, a NumPy array or a PIL image"


def load_source(
    source: Source,
    *,
    limits: Limits = Limits(),  # noqa: B008
    name: str | None = None,
    parameter: str = "source",
) -> Picture:
    """Load one image, whatever it is given as.

    Args:
        source: a path, bytes, an open binary file, an array (h, w), (h, w, 3) or (h, w, 4), or a PIL image.
        limits: the largest image that is accepted.
        name: what to call it; default: the name of the file.
        parameter: what the caller calls the source, for the error.

    Raises:
        SourceNotFound: there is no such file.
        InvalidParameter: it is a folder, an array of another shape or dtype, or something else.
        BrokenMedia, OutOfMemory, TooLarge, UnsupportedMedia: as `load_picture` does.
    """
    if isinstance(source, np.ndarray):
        return picture_of_array(source, limits=limits, name=name, parameter=parameter)
    if isinstance(source, Image.Image):
        return picture_of_pil(source, limits=limits, name=name, parameter=parameter)
    if not _is_one(source):
        raise InvalidParameter(parameter, f"a {type(source).__name__}", _ALLOWED)
    return load_picture(source, limits=limits, name=name)


def expand_sources(
    source: Sources, *, parameter: str = "source", on_unsearched: OnUnsearched | None = None
) -> Iterable[Source]:
    """List the images of a folder or a glob; anything else that is one image becomes a list of one.

    Args:
        source: a folder, a glob such as `photos/**/*.jpg`, one image, or an iterable of images: a list, an array
            (n, h, w, 3). The images of a folder are taken with those of its sub-folders. Hidden files and what is no
            regular file are left alone; the log says how many files are left alone.
        parameter: what the caller calls the source, for the error.
        on_unsearched: is called for each sub-folder that cannot be read or is a link; default: an error.

    Returns:
        Sorted paths, or what was given.

    Raises:
        SourceNotFound: there is no image in the folder, or none that matches the glob.
        InvalidParameter: it is neither an image nor an iterable of images.
        OSError: the folder, or a sub-folder, cannot be read or is a link, and there is no `on_unsearched`.
    """
    if isinstance(source, str | os.PathLike):
        return _expand_path(os.fspath(source), on_unsearched)
    if isinstance(source, np.ndarray):
        return [source] if source.ndim != 4 else list(source)
    if _is_one(source):
        return [cast("Source", source)]
    if not isinstance(source, Iterable):
        raise InvalidParameter(
            parameter, f"a {type(source).__name__}", f"a folder, a glob, {_ALLOWED}, or an iterable of these"
        )
    return cast("Iterable[Source]", source)


def _is_one(source: object) -> bool:
    one = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Image.Image)
    return one or hasattr(source, "read")


def _expand_path(path: str, on_unsearched: OnUnsearched | None) -> list[Source]:
    if Path(path).is_dir():
        files: list[Path] = []
        others: list[Path] = []
        for file in walk_files(Path(path), on_unsearched=on_unsearched, on_left_alone=others.append):
            (files if is_image_file(file) else others).append(file)
        if others:
            _log.info("%d other file(s) in %s are left alone.", len(others), path)
        if not files:
            raise SourceNotFound(f"There is no image in the folder {path}.")
        return [*sorted(files)]
    if Path(path).exists() or not glob.has_magic(path):
        # also where there is no such file: whoever reads it says so
        return [path]
    matches = sorted(map(Path, glob.glob(path, recursive=True)))  # noqa: PTH207 (a path may be absolute)
    images = [match for match in matches if match.is_file() and is_image_file(match)]
    if not images:
        raise SourceNotFound(f"No image matches {path}.")
    return [*images]


def source_name(source: Source, index: int) -> str:
    """Name a source in a message: its path, or its number among the others.

    Args:
        source: one image, as `load_source` takes it.
        index: its place among the sources, from 0 up.

    Returns:
        The path if the source is one, otherwise `image 1` for index 0, and so on.
    """
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return f"image {index + 1}"
