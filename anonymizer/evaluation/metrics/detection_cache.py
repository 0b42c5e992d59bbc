"""Detections kept on disk, so that each model analyses an image only once."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anonymizer.pipeline.detections import Detections, ObjectType

__all__ = ["CachedDetections", "DetectionCache", "default_file"]

#: digests in one query; SQLite allows 32,766 values
_QUERY_SIZE = 5000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found (
    key TEXT, digest TEXT, height INTEGER, width INTEGER, models TEXT, numbers BLOB, PRIMARY KEY (key, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (key TEXT, digest TEXT, numbers BLOB, PRIMARY KEY (key, digest)) WITHOUT ROWID;
"""


def default_file() -> Path:
    """The default file of a cache: `anonymizer/detections.sqlite3` in `$XDG_CACHE_HOME` or `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "anonymizer" / "detections.sqlite3"


@dataclass(frozen=True, slots=True)
class CachedDetections:
    """The detections of one object type in one image.

    Attributes:
        size_hw: height and width of the upright image in pixels.
        detections: all detections, down to the lowest scores, without masks.
    """

    size_hw: tuple[int, int]
    detections: Detections

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"CachedDetections({len(self.detections)} detections in {width} x {height} pixels)"


class DetectionCache:
    """A cache of detections in an SQLite file. It holds paths, hashes, boxes and scores, but no pixels.

    Args:
        file: the SQLite file; it is created if it does not exist. Default: `default_file()`.

    Examples:
        >>> result = evaluate(labelled, Anonymizer(), cache=DetectionCache("detections.sqlite3"))
    """

    def __init__(self, file: Path | str | None = None) -> None:
        self.file = Path(file) if file is not None else default_file()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.executescript(_SCHEMA)

    def __repr__(self) -> str:
        size = self.file.stat().st_size / 1e6 if self.file.exists() else 0.0
        return f"DetectionCache({str(self.file)[-200:]!r}, {size:.1f} MB)"

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Compute the hashes of files. A file that has not changed since the last call is not read again.

        Args:
            paths: the files.

        Returns:
            By path, the hash of each file: BLAKE2b, 40 hexadecimal digits. Unreadable files are left out.
        """
        states = {path: state for path in paths if (state := _file_state(path)) is not None}
        with self._open() as database:
            known = {
                (row[0], row[1], row[2]): row[3]
                for row in database.execute("SELECT path, size, changed, digest FROM pictures")
            }
            digests = {path: known.get((str(path.resolve()), *state)) for path, state in states.items()}
            new = {path: _digest(path) for path, digest in digests.items() if digest is None}
            rows = [(str(path.resolve()), *states[path], digest) for path, digest in new.items() if digest]
            database.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", rows)
        return {path: digest for path, digest in (digests | new).items() if digest}

    def get_detections(self, key: str, object_type: ObjectType, digests: Sequence[str]) -> dict[str, CachedDetections]:
        """Read the detections that are stored for some images.

        Args:
            key: what the detections depend on besides the image (`predictions.detection_key`).
            object_type: their type.
            digests: the hashes of the images.

        Returns:
            The detections by hash; images without an entry are left out.
        """
        query = "SELECT digest, height, width, models, numbers FROM found WHERE key = ? AND digest IN ({})"
        rows = self._select(query, key, digests)
        return {row[0]: CachedDetections((row[1], row[2]), _unpack(row[3], row[4], object_type)) for row in rows}

    def put_detections(self, key: str, rows: Mapping[str, CachedDetections]) -> None:
        """Store detections.

        Args:
            key: what the detections depend on besides the image.
            rows: the detections by the hash of the image.
        """
        with self._open() as database:
            database.executemany(
                "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)",
                [(key, digest, *row.size_hw, *_pack(row.detections)) for digest, row in rows.items()],
            )

    def get_coverage(self, key: str, digests: Sequence[str]) -> dict[str, bytes]:
        """Read the leak coverage that is stored for some images, as `LeakCoverage.to_bytes` wrote it.

        Args:
            key: what the coverage depends on besides the image and its labels.
            digests: the hashes of the images and their labels.
        """
        return dict(self._select("SELECT digest, numbers FROM covered WHERE key = ? AND digest IN ({})", key, digests))

    def put_coverage(self, key: str, rows: Mapping[str, bytes]) -> None:
        """Store leak coverage.

        Args:
            key: what the coverage depends on besides the image and its labels.
            rows: what `LeakCoverage.to_bytes` gives, by the hashes of the image and its labels.
        """
        with self._open() as database:
            values = [(key, digest, numbers) for digest, numbers in rows.items()]
            database.executemany("INSERT OR REPLACE INTO covered VALUES (?, ?, ?)", values)

    def _select(self, query: str, key: str, digests: Sequence[str]) -> Iterator[tuple]:  # type: ignore[type-arg]
        with self._open() as database:
            for first in range(0, len(digests), _QUERY_SIZE):
                part = digests[first : first + _QUERY_SIZE]
                yield from database.execute(query.format(",".join("?" * len(part))), (key, *part))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # a new connection for each use, because notebooks call from several threads
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            yield database


def _file_state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None if the file cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
    except OSError:
        return None


def _pack(detections: Detections) -> tuple[str, bytes]:
    names, numbers = np.unique(detections.models, return_inverse=True)
    columns = np.column_stack([detections.boxes, detections.scores, numbers]).astype(np.float32)
    return json.dumps(names.tolist()), columns.tobytes()


def _unpack(models: str, numbers: bytes, object_type: ObjectType) -> Detections:
    rows = np.frombuffer(numbers, np.float32).reshape(-1, 6)
    names = np.array(json.loads(models), np.str_)
    types = np.full(len(rows), object_type.number)
    return Detections(rows[:, :4], rows[:, 4], types, names[rows[:, 5].astype(int)] if len(rows) else np.empty(0, "U1"))
