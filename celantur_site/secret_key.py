"""The secret key: made at the first start, stored beside the database, and refused if it was ever public."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

__all__ = ["is_public", "make_private", "read_or_create"]

#: SHA-256 of keys that everybody can read: an early version of this repository contained one
PUBLIC_KEYS = frozenset({"9184571581a45b66f91581afca5912087a610809b76c8dfb85a29fcb945894e3"})


def is_public(key: str) -> bool:
    """Return whether a key is one that everybody can read."""
    return hashlib.sha256(key.strip().encode()).hexdigest() in PUBLIC_KEYS


def make_private(folder: Path) -> None:
    """Create a folder, and all folders above it that are missing, for this user only (mode 0700).

    Raises:
        OSError: a folder cannot be created.
    """
    if folder.is_dir():
        return
    make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def read_or_create(folder: Path, *, tighten: bool) -> str:
    """Return the key of a data folder. Without one, a new key is made and stored with mode 0600.

    Args:
        folder: it is created with mode 0700 if it does not exist.
        tighten: whether a folder that exists gets mode 0700, too.

    Raises:
        ImproperlyConfigured: the folder is not writable, or its file of the key is empty.
    """
    file = folder / "secret_key"
    try:
        make_private(folder)
        if not file.exists():
            _create(file)
        for path, mode in ((file, 0o600), *([(folder, 0o700)] if tighten else [])):
            if path.stat().st_mode & 0o077:
                with suppress(PermissionError):
                    # an older version or git may have left it readable; what another user owns stays as it is
                    path.chmod(mode)
        key = file.read_text().strip()
    except OSError as error:
        sentence = f"ANONYMIZER_DATA_DIR is {str(folder)!r}, but must be a writable folder"
        raise ImproperlyConfigured(f"{sentence} ({error.strerror}).") from error
    if not key:
        raise ImproperlyConfigured(f"{file} is empty. Delete it, and the next start makes a new key.")
    return key


def _create(file: Path) -> None:
    part = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as written:
        written.write(secrets.token_urlsafe(50))
    try:
        # a link never replaces a file: of two processes that start at the same time, both read the key of the first
        os.link(part, file)
    except FileExistsError:
        pass
    except OSError:
        # the file system has no hard links
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
