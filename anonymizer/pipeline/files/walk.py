"""The files of a folder and its sub-folders, and what of it is left alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["OnLeftAlone", "OnUnsearched", "walk_files"]

#: is called with a folder that was not searched, and the reason as a sentence
OnUnsearched = Callable[[Path, str], None]
#: is called with a file that is neither an image nor a video to work on
OnLeftAlone = Callable[[Path], None]


def walk_files(
    folder: Path,
    *,
    leave_out: Path | None = None,
    on_unsearched: OnUnsearched | None = None,
    on_left_alone: OnLeftAlone | None = None,
) -> Iterator[Path]:
    """Get the files of a folder and its sub-folders, in the order of their names.

    Hidden files, files in hidden folders, and what is no regular file (a FIFO, a device) are left alone. So are the
    AppleDouble files of macOS (`._IMG_1.jpg`), which are hidden.

    Args:
        folder: where to look. It may be hidden itself, or be a link.
        leave_out: a folder below it that is passed over.
        on_unsearched: is called for each folder that cannot be read or is a link, hidden ones left out; default: an
            error.
        on_left_alone: is called for each file that is left alone.

    Raises:
        OSError: a folder cannot be read or is a link, and there is no `on_unsearched`.
    """

    def unreadable(error: OSError) -> None:
        path = Path(error.filename)
        if _is_hidden(path, folder):
            return
        if on_unsearched is None:
            raise error
        on_unsearched(path, f"The folder cannot be read: {error.strerror}.")

    without = None if leave_out is None else leave_out.resolve()
    for parent, sub_folders, names in os.walk(folder, onerror=unreadable):
        sub_folders[:] = sorted(name for name in sub_folders if (Path(parent) / name).resolve() != without)
        for link in (Path(parent) / name for name in sub_folders):
            # os.walk does not follow it: it may lead back to where it lies
            if link.is_symlink() and not _is_hidden(link, folder):
                _tell_link(link, on_unsearched)
        for file in (Path(parent) / name for name in sorted(names)):
            if not _is_hidden(file, folder) and _is_regular(file):
                yield file
            elif on_left_alone is not None:
                on_left_alone(file)


def _is_regular(file: Path) -> bool:
    """Whether a file holds bytes: opening a FIFO would wait for a writer.

    A broken link, or a file that cannot be looked at, counts: whoever opens it says what is wrong.
    """
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return True


def _is_hidden(path: Path, below: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(below).parts)


def _tell_link(link: Path, on_unsearched: OnUnsearched | None) -> None:
    reason = "The folder is a link, which is not followed."
    if on_unsearched is None:
        raise OSError(f"{link}: {reason}")
    on_unsearched(link, reason)
