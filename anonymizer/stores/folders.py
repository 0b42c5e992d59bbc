"""A store that is a folder of this machine: files are moved into it, and linked within it."""

from __future__ import annotations

import os
from pathlib import Path

from anonymizer.stores.base import Store

__all__ = ["FolderStore"]


class FolderStore(Store):
    """A folder of this machine."""

    def path(self, key: str) -> Path:
        """Return the path of a file, whether it exists or not."""
        return Path(self.storage.path(key))

    def problem(self) -> str:
        """Return what is wrong with the folder; nothing is written to find it out."""
        folder = self.path("").absolute()
        # the folder is made with the first file
        while not folder.exists():
            folder = folder.parent
        return "" if os.access(folder, os.W_OK | os.X_OK) else "is not writable"
