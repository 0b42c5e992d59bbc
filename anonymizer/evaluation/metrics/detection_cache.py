"""What detectors found in pictures, kept on disk: a picture is looked at once by each model."""

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

__all__ = ["DetectionCache", "Kept", "default_file"]

#: of one query; SQLite allows 32,766 values
_ROWS = 5000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, digest TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS found (
    key TEXT, digest TEXT, height INTEGER, width INTEGER, models TEXT, numbers BLOB, PRIMARY KEY (key, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS covered (key TEXT, digest TEXT, numbers BLOB, PRIMARY KEY (key, digest)) WITHOUT ROWID;
"""


def default_file() -> Path:
    """Where detections are kept where nothing else is said."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "anonymizer" / "detections.sqlite3"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found of one type in one picture.

    Attributes:
        size_hw: of the upright picture.
        detections: without masks.
    """

    size_hw: tuple[int, int]
    detections: Detections


class DetectionCache:
    """An SQLite file. It holds paths, hashes, boxes and scores; no pixels.

    Args:
        file: made where it is not there; `default_file()` without.
    """

    def __init__(self, file: Path | str | None = None) -> None:
        self.file = Path(file) if file is not None else default_file()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.executescript(_SCHEMA)

    def digests(self, paths: Iterable[Path]) -> dict[Path, str]:
        """By path, the hash of each file (BLAKE2b, 40 hex digits); a file that did not change is not read again.

        A file that cannot be read is left out.
        """
        states = {path: state for path in paths if (state := _state(path)) is not None}
        with self._open() as database:
            known = {
                (row[0], row[1], row[2]): row[3]
                for row in database.execute("SELECT path, size, changed, digest FROM pictures")
            }
            found = {path: known.get((str(path.resolve()), *state)) for path, state in states.items()}
            new = {path: _digest(path) for path, digest in found.items() if digest is None}
            rows = [(str(path.resolve()), *states[path], digest) for path, digest in new.items() if digest]
            database.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", rows)
        return {path: digest for path, digest in (found | new).items() if digest}

    def found(self, key: str, object_type: ObjectType, digests: Sequence[str]) -> dict[str, Kept]:
        """What is known of these pictures under a key, by digest."""
        question = "SELECT digest, height, width, models, numbers FROM found WHERE key = ? AND digest IN ({})"
        rows = self._select(question, key, digests)
        return {row[0]: Kept((row[1], row[2]), _unpacked(row[3], row[4], object_type)) for row in rows}

    def keep_found(self, key: str, rows: Mapping[str, Kept]) -> None:
        """Keep what was found, by digest."""
        with self._open() as database:
            database.executemany(
                "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?)",
                [(key, digest, *each.size_hw, *_packed(each.detections)) for digest, each in rows.items()],
            )

    def covered(self, key: str, digests: Sequence[str]) -> dict[str, bytes]:
        """What was computed of these pictures under a key, by digest."""
        return dict(self._select("SELECT digest, numbers FROM covered WHERE key = ? AND digest IN ({})", key, digests))

    def keep_covered(self, key: str, rows: Mapping[str, bytes]) -> None:
        """Keep what was computed, by digest."""
        with self._open() as database:
            values = [(key, digest, numbers) for digest, numbers in rows.items()]
            database.executemany("INSERT OR REPLACE INTO covered VALUES (?, ?, ?)", values)

    def _select(self, question: str, key: str, digests: Sequence[str]) -> Iterator[tuple]:  # type: ignore[type-arg]
        with self._open() as database:
            for first in range(0, len(digests), _ROWS):
                some = digests[first : first + _ROWS]
                yield from database.execute(question.format(",".join("?" * len(some))), (key, *some))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # one for each use: notebooks call from threads
        with closing(sqlite3.connect(self.file, timeout=30)) as database, database:
            yield database


def _state(path: Path) -> tuple[int, int] | None:
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


def _packed(found: Detections) -> tuple[str, bytes]:
    names, numbers = np.unique(found.models, return_inverse=True)
    columns = np.column_stack([found.boxes, found.scores, numbers]).astype(np.float32)
    return json.dumps(names.tolist()), columns.tobytes()


def _unpacked(models: str, numbers: bytes, object_type: ObjectType) -> Detections:
    rows = np.frombuffer(numbers, np.float32).reshape(-1, 6)
    names = np.array(json.loads(models), np.str_)
    types = np.full(len(rows), object_type.number)
    return Detections(rows[:, :4], rows[:, 4], types, names[rows[:, 5].astype(int)] if len(rows) else np.empty(0, "U1"))
