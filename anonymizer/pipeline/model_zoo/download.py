"""Downloading the files of models. The one part of the pipeline that opens a socket: only commands import it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import requests

from anonymizer.pipeline.errors import DetectorFailed
from anonymizer.pipeline.model_zoo.registry import ModelEntry, Recorded, read_recorded

__all__ = ["FetchFailed", "Fetched", "NoConnection", "fetch"]

CHUNK = 2**16
#: waits between tries, in seconds: so much, then twice, four times, …
FIRST_WAIT_S = 1.0
#: answers after which the same may well work later
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

#: called with the bytes that are there and those that there will be, where the server says
Progress = Callable[[int, "int | None"], None]


class FetchFailed(Exception):
    """A file could not be fetched; the sentence says which, from where, and why."""


class NoConnection(FetchFailed):
    """The server was not reached, or did not answer: others of the same network will not do either."""


class _Passing(Exception):
    """A try failed in a way that another one may not."""


class _NotReached(_Passing):
    """… before there was an answer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of a fetch.

    Attributes:
        path: of the whole, checked file.
        downloaded: False where it was there already.
        recorded: the sha256 that was recorded, where none was known before; of the archive where it came in one.
    """

    path: Path
    downloaded: bool
    recorded: str | None = None


def fetch(
    entry: ModelEntry,
    folder: Path,
    *,
    mirror: str | None = None,
    progress: Progress = lambda done, total: None,
    timeout: float = 20.0,
    retries: int = 4,
    seconds: float | None = None,
) -> Fetched:
    """Bring a model's file into a folder; it gets its name when it is whole and its sum is right, not before.

    What a broken download left is continued, by this call and by later ones. Of two processes the second waits.

    Args:
        mirror: a URL or a folder, in which the file is looked for by its name instead of at the entry's URL.
        timeout: seconds to wait for a connection, and for the next bytes.
        retries: after one that brought nothing, with growing waits between.
        seconds: for all of it; then it fails, and goes on from there the next time.

    Raises:
        FetchFailed: there is no such file.
    """
    until = None if seconds is None else time.monotonic() + seconds
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, until):
            return _Fetch(entry, folder, mirror, progress, timeout, retries, until).run()
    except OSError as error:
        raise FetchFailed(f"{entry.file}: {_storage_sentence(error, folder)}") from error
    except DetectorFailed as error:
        raise FetchFailed(f"{entry.file}: {error}") from error


@contextlib.contextmanager
def _alone(folder: Path, until: float | None) -> Iterator[None]:
    with (folder / ".fetch.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if until is not None and time.monotonic() > until:
                    raise FetchFailed(f"Another process is fetching into {folder}.") from None
                time.sleep(0.1)
        yield


class _Fetch:
    """One file, under the lock."""

    def __init__(
        self,
        entry: ModelEntry,
        folder: Path,
        mirror: str | None,
        progress: Progress,
        timeout: float,
        retries: int,
        until: float | None,
    ) -> None:
        self.entry, self.folder = entry, folder
        self.progress, self.timeout, self.retries, self.until = progress, timeout, retries, until
        self.name = entry.archive or entry.file
        self.part = folder / f"{self.name}.part"
        # by which the server knows the version that a part is of
        self.etag = folder / f"{self.name}.etag"
        known = read_recorded(folder).get(entry.id)
        self.sum = entry.sha256 or (known.file if known else None)
        self.archive_sum = known.archive if known else None
        self.mirror = None if mirror is None or mirror.startswith(("http://", "https://")) else Path(mirror)
        self.url = entry.url if mirror is None else f"{mirror.rstrip('/')}/{self.name}"

    def run(self) -> Fetched:
        path = self.folder / self.entry.file
        if self.sum is not None and path.is_file() and _sha256(path) == self.sum:
            return Fetched(path, downloaded=False)
        if self.entry.url is None:
            raise FetchFailed(f"{self.entry.id} is not downloaded: run `{self.entry.remedy}`.")
        if self.mirror is not None:
            self._copy(self.mirror / self.name)
        else:
            self._download()
        return self._checked(path)

    # --- bytes into the part ---

    def _copy(self, source: Path) -> None:
        try:
            file = source.open("rb")
        except OSError as error:
            raise FetchFailed(f"{source} cannot be read ({error.strerror}).") from error
        with file, self.part.open("wb") as part:
            self._room(source.stat().st_size)
            self._pour(iter(lambda: file.read(CHUNK), b""), part, source.stat().st_size)

    def _download(self) -> None:
        failures = 0
        while True:
            before = self._size()
            try:
                self._try()
                return
            except _Passing as error:
                self._check_time()
                failures = 1 if self._size() > before else failures + 1
                wait = FIRST_WAIT_S * 2 ** (failures - 1)
                if failures > self.retries or (self.until is not None and time.monotonic() + wait > self.until):
                    kind = NoConnection if isinstance(error, _NotReached) else FetchFailed
                    raise kind(f"{self.url}: {error}.") from error
            time.sleep(wait)

    def _try(self) -> None:
        """One request, for what the part lacks.

        Raises:
            _Passing: it came to nothing, or not to the end.
        """
        have = self._usable_part()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.etag.exists():
                headers["If-Range"] = self.etag.read_text()
        try:
            answer = requests.get(str(self.url), headers=headers, stream=True, timeout=self._patience())
        except requests.ReadTimeout as error:
            raise _NotReached("no answer came in time") from error
        except requests.ConnectionError as error:
            raise _NotReached("the server cannot be reached") from error
        except requests.RequestException as error:
            raise FetchFailed(f"{self.url} cannot be asked for ({type(error).__name__}).") from error
        try:
            with answer:
                self._take(answer, have)
        except requests.RequestException as error:
            raise _Passing("the connection was cut, or hangs") from error

    def _usable_part(self) -> int:
        """Bytes of an earlier try that may be continued."""
        have = self._size()
        # where neither sum nor version is known, two halves of different files would pass for one
        doubtful = self.sum is None and not self.etag.exists()
        if doubtful or (self.entry.size is not None and have > self.entry.size):
            self._drop_part()
            return 0
        return have

    def _take(self, answer: requests.Response, have: int) -> None:
        if answer.status_code == 416:
            if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                # all of it was there
                return
            self._drop_part()
            raise _Passing("the server has another file than the one that was begun")
        if answer.status_code in PASSING:
            raise _Passing(f"the server answered {answer.status_code} {answer.reason}")
        if answer.status_code not in (200, 206):
            raise FetchFailed(f"{self.url}: the server answered {answer.status_code} {answer.reason}.")
        if answer.status_code == 200:
            # all of it, whatever was asked for
            have = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self._drop_part()
            raise _Passing("the server sent another part than the one that was asked for")
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        if total is not None and self.entry.size not in (None, total):
            self._drop_part()
            raise FetchFailed(f"{self.url} has {total} bytes, but the registry says {self.entry.size}.")
        self._remember_version(answer)
        self._room((total or 0) - have)
        with self.part.open("ab" if have else "wb") as part:
            self._pour(answer.iter_content(CHUNK), part, total)
        if total is not None and self._size() < total:
            raise _Passing("the connection was cut")

    def _remember_version(self, answer: requests.Response) -> None:
        tag = answer.headers.get("ETag", "")
        if tag and not tag.startswith("W/"):
            self.etag.write_text(tag)
        elif answer.status_code == 200:
            self.etag.unlink(missing_ok=True)

    def _pour(self, chunks: Iterator[bytes], part: BinaryIO, total: int | None) -> None:
        done = part.tell()
        self.progress(done, total)
        for chunk in chunks:
            part.write(chunk)
            done += len(chunk)
            self.progress(done, total)
            self._check_time()

    def _room(self, more: int) -> None:
        if shutil.disk_usage(self.folder).free < more:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _patience(self) -> float:
        self._check_time()
        return self.timeout if self.until is None else max(0.1, min(self.timeout, self.until - time.monotonic()))

    def _check_time(self) -> None:
        if self.until is not None and time.monotonic() > self.until:
            have = self._size()
            kind = FetchFailed if have else NoConnection
            raise kind(f"{self.name}: the time is up with {have} bytes; the next fetch goes on from there.")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _drop_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)

    # --- from the part to the file ---

    def _checked(self, path: Path) -> Fetched:
        """Give the part its name, or remove it and say what is wrong with it."""
        size, found = self._size(), _sha256(self.part)
        if self.entry.archive is None and self.entry.size not in (None, size):
            self._drop_part()
            raise FetchFailed(f"{self.name} came with {size} bytes, but the registry says {self.entry.size}.")
        if self.entry.archive is None:
            self._compare(self.name, found, self.sum)
            whole, sums = self.part, Recorded(found)
        else:
            self._compare(self.name, found, self.archive_sum)
            whole = self._extracted()
            sums = Recorded(_sha256(whole), found)
            self._compare(self.entry.file, sums.file, self.sum, whole)
        new = self.sum is None
        if new:
            _record(self.folder, self.entry.id, sums)
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        whole.replace(path)
        self._drop_part()
        return Fetched(path, downloaded=True, recorded=found if new else None)

    def _compare(self, name: str, found: str, expected: str | None, *others: Path) -> None:
        if expected in (None, found):
            return
        for each in others:
            each.unlink(missing_ok=True)
        self._drop_part()
        whose = "the registry has" if self.entry.sha256 else "at the first fetch it was"
        raise FetchFailed(f"{name} has the sha256 {found}, but {whose} {expected}: it was thrown away.")

    def _extracted(self) -> Path:
        """The TorchScript file of the archive, beside it."""
        target = self.folder / f"{self.entry.file}.part"
        suffix = Path(self.entry.file).suffix
        try:
            with zipfile.ZipFile(self.part) as archive:
                names = [each for each in archive.namelist() if each.endswith(suffix) and "__MACOSX" not in each]
                if len(names) != 1:
                    raise zipfile.BadZipFile(f"{len(names)} files in it end in {suffix}, not one")
                self._room(archive.getinfo(names[0]).file_size)
                with archive.open(names[0]) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            target.unlink(missing_ok=True)
            self._drop_part()
            raise FetchFailed(f"{self.name} is no zip with the model in it ({error}): it was thrown away.") from error
        return target


def _record(folder: Path, model_id: str, sums: Recorded) -> None:
    rows = read_recorded(folder) | {model_id: sums}
    text = "# sha256 of models whose publisher gives none, as they were when they were first fetched\n"
    for name, each in rows.items():
        text += f'\n[{name}]\nfile = "{each.file}"\n' + (f'archive = "{each.archive}"\n' if each.archive else "")
    part = folder / "recorded.toml.part"
    part.write_text(text)
    part.replace(folder / "recorded.toml")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _storage_sentence(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no room for it on the disk of {folder}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the folder {folder} cannot be written to."
    return f"it cannot be kept in {folder} ({error.strerror or type(error).__name__})."
