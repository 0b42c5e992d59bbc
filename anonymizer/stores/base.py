"""What the service asks of a place for files. `Store` does it for any storage of Django; others do it better."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from django.core.files.base import ContentFile
from django.core.files.base import File as DjangoFile
from django.core.files.storage import Storage

__all__ = ["ALIASES", "PartOfFile", "Reception", "Store", "StoredBytes"]

#: the storages of uploads and of results
ALIASES = ("input", "output")
COPY_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """One file of a store.

    Attributes:
        key: its name, with folders.
        size: in bytes.
        modified: when it was stored.
    """

    key: str
    size: int
    modified: datetime


class Reception(Protocol):
    """A file that is stored while it is received. It appears when it is finished, and not before."""

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            StorageAway: the store does not take them.
        """

    def finish(self) -> None:
        """Make the file appear.

        Raises:
            StorageAway: the store does not answer.
        """

    def abort(self) -> None:
        """Leave nothing of the file. This does nothing after `finish`, and raises no error."""


class Store:
    """A storage of Django, as the service uses it.

    Args:
        storage: any storage of Django.
    """

    #: whether many files are removed with one request
    removes_together = False
    #: whether a file is stored while it is received
    streams = False

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def path(self, key: str) -> Path | None:
        """Return the path of a file, whether it exists or not; None if the store is no folder of this machine."""
        return None

    def save(self, key: str, content: DjangoFile[bytes] | ContentFile[bytes], media_type: str) -> str:
        """Store a file, whole or not at all. A store that is a folder may move a file that has a path.

        Returns:
            The key that it has now.

        Raises:
            OSError: there is no room.
            StorageAway: the store does not answer.
        """
        return self.storage.save(key, content)

    def open(self, key: str, first: int = 0, length: int | None = None) -> Any:
        """Open a file, or a part of it, to be read once from its beginning to its end.

        Args:
            first: the first byte.
            length: the number of bytes. Default: up to the end.

        Returns:
            An object with `read(size)` and `close()`.

        Raises:
            FileNotFoundError: the file does not exist any more.
            StorageAway: the store does not answer.
        """
        content = self.storage.open(key)
        if length is not None:
            return PartOfFile(content, first, length)
        content.seek(first)
        return content

    def fetch(self, key: str, path: Path) -> None:
        """Copy a file to a path of this machine, with little memory.

        Raises:
            FileNotFoundError: the file does not exist any more.
            StorageAway: the store does not answer.
        """
        with self.storage.open(key) as content, path.open("wb") as file:
            shutil.copyfileobj(content, file, COPY_BYTES)

    def duplicate(self, key: str, new: str) -> bool:
        """Copy a file within the store, where that moves no bytes through this machine. Return whether it was done."""
        return False

    def look(self, key: str) -> StoredBytes | None:
        """Return size and time of a file; None if it does not exist."""
        try:
            return StoredBytes(key, self.storage.size(key), self.storage.get_modified_time(key))
        except FileNotFoundError:
            return None

    def existing(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are there.

        Raises:
            StorageAway: the store does not answer.
        """
        return {key for key in keys if self.storage.exists(key)}

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files, and the folders that are empty afterwards. Files that do not exist are no error.

        Raises:
            OSError: a file cannot be removed.
            StorageAway: the store does not answer.
        """
        for key in keys:
            self.storage.delete(key)
            for folder in list(PurePosixPath(key).parents)[:-1]:
                try:
                    self.storage.delete(str(folder))
                except OSError:
                    # another file of the task is still in it
                    break

    def walk(self, is_own: Callable[[str], bool]) -> Iterator[StoredBytes]:
        """Find all files, folder by folder.

        Args:
            is_own: tells of a folder of the first level whether its files are wanted.
        """
        for folder in self._listed("")[0]:
            if is_own(folder):
                for key in self._keys(folder):
                    if (found := self.look(key)) is not None:
                        yield found

    def receive(self, key: str, media_type: str) -> Reception | None:
        """Begin to store a file of which only the beginning is known; None if a local file has to be made first."""
        return None

    def abort_receptions(self, before: datetime) -> int:
        """Remove what is left of files that began to be stored before a time and never were. Return their number."""
        return 0

    def address(self, key: str, *, media_type: str, disposition: str, seconds: int) -> str | None:
        """Return an address of a file that is valid for a while, for whoever has it; None if the store has none.

        Args:
            media_type: the header Content-Type of the answer.
            disposition: the header Content-Disposition of the answer.
            seconds: how long the address is valid.
        """
        return None

    def problem(self) -> str:
        """Return what is wrong with the store, in words that complete "the input storage …"; empty if nothing is."""
        try:
            self.storage.exists("ready.txt")
        except Exception as error:
            return f"does not answer ({type(error).__name__})"
        return ""

    def _listed(self, folder: str) -> tuple[list[str], list[str]]:
        try:
            return self.storage.listdir(folder)
        except FileNotFoundError:
            return [], []

    def _keys(self, folder: str) -> Iterator[str]:
        folders, names = self._listed(folder)
        for name in names:
            yield f"{folder}/{name}"
        for each in folders:
            yield from self._keys(f"{folder}/{each}")


class PartOfFile:
    """A file object that reads a given number of bytes of an open file."""

    def __init__(self, file: Any, first: int, length: int) -> None:
        self._file, self._left = file, length
        file.seek(first)

    def read(self, size: int) -> bytes:
        """Return the next bytes of the part, `size` at most."""
        content = bytes(self._file.read(min(size, self._left)))
        self._left -= len(content)
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()
