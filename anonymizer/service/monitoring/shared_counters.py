"""The folder in which the processes of `serve` share their counters (multi-process mode of prometheus-client)."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from celantur_site.secret_key import make_private

__all__ = ["FOLDER", "begin", "files", "folder"]

#: the environment variable that prometheus-client reads, and that every process of `serve` has
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def begin(data_dir: Path) -> dict[str, str]:
    """Make an empty folder for the counters of this machine, before the processes that count are started.

    Args:
        data_dir: the folder of the database. Machines that share it have a folder each.

    Returns:
        The environment variable that the processes need.
    """
    own = data_dir / "metrics" / socket.gethostname()[:80]
    shutil.rmtree(own, ignore_errors=True)
    make_private(own)
    return {FOLDER: str(own)}


def folder() -> Path | None:
    """Return the folder of this machine; None where each process counts for itself."""
    name = os.environ.get(FOLDER, "")
    return Path(name) if name and Path(name).is_dir() else None


def files(own: Path) -> list[str]:
    """Return the files of all machines that share the data folder.

    Args:
        own: the folder of this machine.
    """
    return [str(path) for path in sorted(own.parent.glob("*/*.db"))]
