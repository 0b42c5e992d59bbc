"""A folder on a disk or in an object store: its files by their names below it, each written whole or not at all.

A local file gets its name by a rename. A file in an object store appears when its upload is complete: with one PUT, or
with the last step of a multipart upload. Nothing is uploaded before it is complete on the machine that made it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs

from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.files.whole import write_whole

__all__ = ["FoundFile", "Place"]

#: bytes that are moved at once between a disk and an object store
_PIECE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a place.

    Attributes:
        name: below the place, with `/` between its parts.
        size: in bytes.
    """

    name: str
    size: int


@dataclass(frozen=True)
class Place:
    """A folder, by its path or its address.

    It may be sent to other machines: each opens the file system anew, with the credentials of its own environment.

    Attributes:
        address: a path, or the URI of a file system that pyarrow or fsspec knows: `s3://bucket/folder`,
            `gs://bucket/folder`, `abfss://container@account.dfs.core.windows.net/folder`. The query of an S3 address
            may have `endpoint_override`, `scheme`, `region`; so may `AWS_ENDPOINT_URL` and its like.
    """

    address: str
    #: where it is opened, once in each process
    _opened: dict[str, tuple[fs.FileSystem, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, address: str | os.PathLike[str]) -> Place:
        """Make one, and make sure that its file system is known.

        Args:
            address: see the class. A relative path is taken from the current folder.

        Raises:
            InvalidParameter: there is no such file system.
        """
        text = os.fspath(address)
        place = cls(text if "://" in text else str(Path(text).absolute()))
        try:
            place._open()
        except (ValueError, ImportError, OSError) as error:
            raise InvalidParameter("address", text, f"a folder or the address of one ({error})") from error
        return place

    def __getstate__(self) -> dict[str, object]:
        """Leave out what is opened."""
        return {"address": self.address, "_opened": {}}

    @cached_property
    def local(self) -> Path | None:
        """The folder, if it is on a disk that every machine sees under this path."""
        system, root = self._open()
        return Path(root) if isinstance(system, fs.LocalFileSystem) else None

    def is_same_or_inside(self, other: Place) -> bool:
        """Whether it is another place or lies in it."""
        (mine, root), (theirs, their_root) = self._open(), other._open()
        if self.local is not None and other.local is not None:
            return self.local.resolve().is_relative_to(other.local.resolve())
        return mine == theirs and PurePosixPath(root).is_relative_to(their_root)

    def below(self, name: str) -> Place:
        """The place of a sub-folder."""
        before, mark, query = self.address.partition("?")
        return Place(f"{before.rstrip('/')}/{name}{mark}{query}")

    def files(self) -> Iterator[FoundFile]:
        """List the files of the place and its sub-folders; none if there is no such place.

        Raises:
            OSError: it cannot be listed.
        """
        system, root = self._open()
        for found in system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True)):
            if found.type is fs.FileType.File:
                yield FoundFile(str(PurePosixPath(found.path).relative_to(root)), found.size)

    def has(self, name: str) -> bool:
        """Whether there is a file of a name."""
        system, root = self._open()
        return bool(system.get_file_info(f"{root}/{name}").type is fs.FileType.File)

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file.

        Raises:
            OSError: it cannot be read.
        """
        system, root = self._open()
        with system.open_input_file(f"{root}/{name}") as file:
            return bytes(file.read(count))

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file of the place to a path.

        Raises:
            OSError: it cannot be read or written.
        """
        system, root = self._open()
        with system.open_input_stream(f"{root}/{name}") as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, _PIECE_BYTES)

    def deliver(self, file: Path, name: str) -> None:
        """Copy a complete file to a name of the place. It appears when all of it is there.

        Raises:
            OSError: it cannot be read or written.
        """
        if self.local is not None:
            write_whole(self.local / name, file.read_bytes())
            return
        system, root = self._open()
        with pa.memory_map(str(file)) as source:
            content = source.read_buffer()
        # One write of everything: closing a stream completes the upload, and so does the end of its life after an
        # error. What was not written by then would be missing. Where a write fails, closing fails too.
        with system.open_output_stream(f"{root}/{name}") as stream:
            stream.write(content)
        stored = system.get_file_info(f"{root}/{name}").size
        if stored != content.size:
            # some servers keep the marks between the pieces of an upload (AWS_REQUEST_CHECKSUM_CALCULATION)
            system.delete_file(f"{root}/{name}")
            raise OSError(f"{name} was stored with {stored} bytes instead of {content.size}")

    def remove(self, name: str) -> None:
        """Remove a file.

        Raises:
            OSError: it cannot be removed.
        """
        system, root = self._open()
        system.delete_file(f"{root}/{name}")

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self.address not in self._opened:
            if "://" not in self.address:
                self._opened[self.address] = fs.LocalFileSystem(), self.address
            else:
                system, root = _from_uri(self.address)
                self._opened[self.address] = system, root.rstrip("/")
        return self._opened[self.address]


def _from_uri(address: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address: pyarrow's own, otherwise that of fsspec."""
    try:
        system, root = fs.FileSystem.from_uri(address)
    except (ValueError, NotImplementedError) as error:
        if "nrecognized filesystem type" not in str(error):
            raise
        import fsspec

        found, root = fsspec.url_to_fs(address)
        system = fs.PyFileSystem(fs.FSSpecHandler(found))
    return system, str(root)
