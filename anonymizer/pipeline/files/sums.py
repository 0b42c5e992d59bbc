"""Checksums of files."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FileSum"]


@dataclass(frozen=True, slots=True)
class FileSum:
    """The checksum and the size of a file.

    Attributes:
        sha256: 64 hexadecimal digits.
        size: in bytes.
    """

    sha256: str
    size: int

    @classmethod
    def of_bytes(cls, content: bytes) -> FileSum:
        """Compute that of a file in memory."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> FileSum:
        """Compute that of a file on disk.

        Raises:
            OSError: it cannot be read.
        """
        with Path(path).open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), file.tell())

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"sha256": self.sha256, "bytes": self.size}
