"""Files that appear complete or not at all, and the removal of what a killed process left of them.

A file is made under a temporary name beside its place and then moved there. Whoever makes it holds a lock on it
(`flock`), which the system takes away when the process ends, in whatever way. So what has a temporary name and no lock
was left by a process that was killed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["MOST_NAME_BYTES", "move_all", "remove_leftovers", "side_file", "temporary_folder", "write_whole"]

#: bytes that the name of a file may have on the usual file systems
MOST_NAME_BYTES = 255
#: A temporary name does not hold the name of the result: that may have as many bytes as a name may have.
_TEMPORARY_NAME = re.compile(r"\.anonymizer-[0-9a-f]{16}\.part")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears only when it is complete.

    Args:
        path: missing folders are created, an existing file is replaced.
        data: the content.

    Raises:
        OSError: it cannot be written; the folder is as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, descriptor = _create(path.parent, is_folder=False)
    # open until the file has its name: the lock ends with the descriptor
    with os.fdopen(descriptor, "wb") as file:
        try:
            file.write(data)
            file.flush()
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for files that are not complete yet, on the same disk as the results.

    Args:
        parent: where it is made; missing folders are created.

    Yields:
        The folder. It is removed with all that it holds when the block ends.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder, descriptor = _create(parent, is_folder=True)
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def move_all(files: Sequence[tuple[Path, Path]]) -> None:
    """Move complete files to their places, all of them or none.

    Args:
        files: each file and its place. The last one shows that there is a result.

    Raises:
        OSError: one of them cannot be moved; those that were moved before are removed.
    """
    moved: list[Path] = []
    try:
        for file, place in files:
            file.replace(place)
            moved.append(place)
    except BaseException:
        # an interruption may come when the last one is at its place already
        if files[-1][0].exists():
            for place in moved:
                place.unlink(missing_ok=True)
        raise


def remove_leftovers(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files and folders that a killed process left.

    What another process still works on stays, and so does everything that has no temporary name of ours.

    Args:
        folders: where to look, without their sub-folders; missing ones are allowed.

    Returns:
        What was removed.
    """
    return [path for folder in dict.fromkeys(folders) for path in _temporary_files(folder) if _remove_if_left(path)]


def side_file(path: Path, ending: str) -> Path:
    """Get the path of a file that belongs to another one, such as its metadata.

    Args:
        path: the file.
        ending: what is added to its name: ".json".

    Returns:
        The name with the ending. Where that has more bytes than a name may have, the end of the name is cut off at a
        whole character, and twelve hexadecimal digits take its place. They are a hash of the whole name: names that
        differ only in the part that is cut off get different ones.
    """
    name = path.name + ending
    if len(os.fsencode(name)) > MOST_NAME_BYTES:
        digits = hashlib.blake2b(os.fsencode(path.name), digest_size=6).hexdigest()
        stem = path.name
        while len(os.fsencode(name := f"{stem}~{digits}{ending}")) > MOST_NAME_BYTES:
            stem = stem[:-1]
    return path.with_name(name)


def _temporary_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _TEMPORARY_NAME.fullmatch(path.name)]
    except OSError:
        # it does not exist yet, or cannot be read: then no result can be written either, which is told there
        return []


def _create(parent: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Make an empty temporary file or folder that is locked; returns its path and its descriptor."""
    while True:
        path = parent / f".anonymizer-{secrets.token_hex(8)}.part"
        try:
            if is_folder:
                path.mkdir(0o700)
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            else:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            if not parent.exists():
                raise
        else:
            if _lock(descriptor, without_locks=True) and _is_still_at(path, descriptor):
                return path, descriptor
            os.close(descriptor)
        # before it was locked, another process took it for one that was left: once more


def _remove_if_left(path: Path) -> bool:
    """Remove a temporary file or folder if no process works on it; returns whether it was removed."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            return False
        descriptor = os.open(path, os.O_NOFOLLOW | (os.O_RDONLY if stat.S_ISDIR(mode) else os.O_RDWR))
        try:
            if _lock(descriptor, without_locks=False) and _is_still_at(path, descriptor):
                if stat.S_ISDIR(mode):
                    shutil.rmtree(path)
                else:
                    path.unlink()
                return True
        finally:
            os.close(descriptor)
    # an error: it belongs to another user, and does not stand in the way of the results
    return False


def _lock(descriptor: int, *, without_locks: bool) -> bool:
    """Lock a file; returns False if another process has it, and `without_locks` if its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True


def _is_still_at(path: Path, descriptor: int) -> bool:
    """Whether the file has kept its name until it was locked."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False
