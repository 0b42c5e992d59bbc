"""Which store a storage of the settings is."""

from __future__ import annotations

import weakref
from contextlib import suppress

from django.core.files.storage import Storage, storages

from anonymizer.stores.base import Store
from anonymizer.stores.folders import FolderStore

__all__ = ["store"]

_made: weakref.WeakKeyDictionary[Storage, Store] = weakref.WeakKeyDictionary()


def store(alias: str) -> Store:
    """Return the store of a storage of the settings.

    Args:
        alias: `input` or `output`.
    """
    storage = storages[alias]
    if storage not in _made:
        _made[storage] = _store_of(storage)
    return _made[storage]


def _store_of(storage: Storage) -> Store:
    # imported here: most servers have no packages for S3
    if getattr(storage, "is_object_storage", False):
        from anonymizer.stores.objects import ObjectStore

        return ObjectStore(storage)
    with suppress(NotImplementedError):
        storage.path("")
        return FolderStore(storage)
    return Store(storage)
