"""Flags that processes share."""

from __future__ import annotations

import multiprocessing

__all__ = ["Flag"]


class Flag:
    """A flag that processes share. Unlike an `Event` it has no lock, so no killed process can have left it locked."""

    def __init__(self) -> None:
        self._value = multiprocessing.RawValue("b", 0)

    def set(self, *, raised: bool = True) -> None:
        """Raise the flag, or lower it."""
        self._value.value = int(raised)

    def is_set(self) -> bool:
        """Return whether the flag is raised."""
        return bool(self._value.value)
