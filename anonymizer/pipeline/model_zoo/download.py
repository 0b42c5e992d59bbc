"""Download the files of models. This is the only part of the pipeline that opens a socket; only commands import it."""

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
from anonymizer.pipeline.model_zoo.folders import MODELS_FOLDER, VARIABLE
from anonymizer.pipeline.model_zoo.recorded import RecordedSums, read_recorded, write_recorded
from anonymizer.pipeline.model_zoo.registry import ModelEntry

__all__ = ["FetchFailed", "FetchResult", "NoConnection", "fetch"]

#: bytes that are read at once
CHUNK = 2**16
#: the wait before the second attempt, in seconds; each further wait is twice as long
FIRST_WAIT_S = 1.0
#: status codes after which the same request may work later
TEMPORARY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

#: called with the bytes that are there and the bytes in total; None: the server does not say
Progress = Callable[[int, "int | None"], None]


class FetchFailed(Exception):
    """A file could not be downloaded; the sentence says which one, from where, and why."""


class NoConnection(FetchFailed):
    """The server was not reached or did not answer. Other downloads will probably fail as well."""


class _TemporaryError(Exception):
    """An attempt failed, but the next one may work."""


class _Unreachable(_TemporaryError):
    """An attempt failed before the server answered."""


@dataclass(frozen=True, slots=True)
class FetchResult:
    """The result of `fetch`.

    Attributes:
        path: of the complete, checked file.
        downloaded: whether it was downloaded; False: it was there already.
        recorded: the sha256 that was recorded, of the archive if the file came in one; None: a sum was known before.
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
) -> FetchResult:
    """Download the file of a model and check its sha256.

    The file gets its name only when it is complete and its sum is right. A broken download is continued, by this call
    and by later ones. If another process downloads into the folder, this one waits for it.

    Args:
        entry: the model.
        folder: where the file is put; it is made if it does not exist.
        mirror: a URL or a folder that has the file under its name; default: the entry's URL.
        progress: called with the bytes that are there and the bytes in total (None: unknown), after each chunk.
        timeout: seconds to wait for a connection, and for the next bytes.
        retries: how many attempts in a row may bring nothing, after the first one. The waits between them grow.
        seconds: time limit for the whole download; default: none. A later call continues an unfinished download.

    Raises:
        NoConnection: the server was not reached or did not answer.
        FetchFailed: the file could not be downloaded or stored, or is not the right one.

    Examples:
        >>> fetch(ModelStore().registry.models["yunet-n"], Path("models")).path
        PosixPath('models/yunet_n_dynamic.onnx')
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, deadline):
            return _Fetch(entry, folder, mirror, progress, timeout, retries, deadline).run()
    except OSError as error:
        raise FetchFailed(f"{entry.file}: {_describe_storage_error(error, folder)}") from error
    except DetectorFailed as error:
        raise FetchFailed(f"{entry.file}: {error}") from error


@contextlib.contextmanager
def _locked(folder: Path, deadline: float | None) -> Iterator[None]:
    """Wait until no other process downloads into the folder."""
    with (folder / ".fetch.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is not None and time.monotonic() > deadline:
                    raise FetchFailed(f"Another process is downloading into {folder}.") from None
                time.sleep(0.1)
        yield


class _Fetch:
    """The download of one file, while the folder is locked."""

    def __init__(
        self,
        entry: ModelEntry,
        folder: Path,
        mirror: str | None,
        progress: Progress,
        timeout: float,
        retries: int,
        deadline: float | None,
    ) -> None:
        self.entry, self.folder = entry, folder
        self.progress, self.timeout, self.retries, self.deadline = progress, timeout, retries, deadline
        self.name = entry.archive or entry.file
        self.part = folder / f"{self.name}.part"
        # with it, the server knows which version of the file the part belongs to
        self.etag = folder / f"{self.name}.etag"
        known = read_recorded(folder).get(entry.id)
        self.sum = entry.sha256 or (known.file if known else None)
        self.archive_sum = known.archive if known else None
        self.mirror = None if mirror is None or mirror.startswith(("http://", "https://")) else Path(mirror)
        self.url = entry.url if mirror is None else f"{mirror.rstrip('/')}/{self.name}"

    def run(self) -> FetchResult:
        path = self.folder / self.entry.file
        if self.sum is not None and path.is_file() and _sha256(path) == self.sum:
            return FetchResult(path, downloaded=False)
        if self.entry.url is None:
            raise FetchFailed(f"{self.entry.id} is not downloaded: run `{self.entry.install_command}`.")
        if self.mirror is not None:
            self._copy(self.mirror / self.name)
        else:
            self._download()
        return self._finish(path)

    # --- from the server into the part ---

    def _copy(self, source: Path) -> None:
        try:
            file = source.open("rb")
        except OSError as error:
            raise FetchFailed(f"{source} cannot be read ({error.strerror}).") from error
        with file, self.part.open("wb") as part:
            self._check_free_space(source.stat().st_size)
            self._write(iter(lambda: file.read(CHUNK), b""), part, source.stat().st_size)

    def _download(self) -> None:
        failures = 0
        while True:
            before = self._part_size()
            try:
                self._request_rest()
                return
            except _TemporaryError as error:
                self._check_time()
                failures = 1 if self._part_size() > before else failures + 1
                wait = FIRST_WAIT_S * 2 ** (failures - 1)
                if failures > self.retries or (self.deadline is not None and time.monotonic() + wait > self.deadline):
                    kind = NoConnection if isinstance(error, _Unreachable) else FetchFailed
                    raise kind(f"{self.url}: {error}.") from error
            time.sleep(wait)

    def _request_rest(self) -> None:
        """Send one request for the bytes that the part lacks, and write them.

        Raises:
            _TemporaryError: nothing came, or not all of it.
        """
        offset = self._resume_offset()
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self.etag.exists():
                headers["If-Range"] = self.etag.read_text()
        try:
            response = requests.get(str(self.url), headers=headers, stream=True, timeout=self._request_timeout())
        except requests.ReadTimeout as error:
            raise _Unreachable("no answer came in time") from error
        except requests.ConnectionError as error:
            raise _Unreachable("the server cannot be reached") from error
        except requests.RequestException as error:
            raise FetchFailed(f"{self.url} cannot be requested ({type(error).__name__}).") from error
        try:
            with response:
                self._save(response, offset)
        except requests.RequestException as error:
            raise _TemporaryError("the connection was cut, or hangs") from error

    def _resume_offset(self) -> int:
        """How many bytes of an earlier attempt can be kept."""
        offset = self._part_size()
        # if neither the sum nor the version is known, halves of two different files could pass for one file
        unverifiable = self.sum is None and not self.etag.exists()
        if unverifiable or (self.entry.size is not None and offset > self.entry.size):
            self._drop_part()
            return 0
        return offset

    def _save(self, response: requests.Response, offset: int) -> None:
        if response.status_code == 416:
            if response.headers.get("Content-Range", "").endswith(f"/{offset}"):
                # the part was complete already
                return
            self._drop_part()
            raise _TemporaryError("the file on the server has changed since the download began")
        if response.status_code in TEMPORARY_STATUSES:
            raise _TemporaryError(f"the server answered {response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise FetchFailed(f"{self.url}: the server answered {response.status_code} {response.reason}.")
        if response.status_code == 200:
            # the whole file, whatever was requested
            offset = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            self._drop_part()
            raise _TemporaryError("the server sent other bytes than those that were requested")
        length = response.headers.get("Content-Length")
        total = None if length is None else offset + int(length)
        if total is not None and self.entry.size not in (None, total):
            self._drop_part()
            raise FetchFailed(f"{self.url} has {total} bytes, but the registry says {self.entry.size}.")
        self._remember_version(response)
        self._check_free_space((total or 0) - offset)
        with self.part.open("ab" if offset else "wb") as part:
            self._write(response.iter_content(CHUNK), part, total)
        if total is not None and self._part_size() < total:
            raise _TemporaryError("the connection was cut")

    def _remember_version(self, response: requests.Response) -> None:
        tag = response.headers.get("ETag", "")
        if tag and not tag.startswith("W/"):
            self.etag.write_text(tag)
        elif response.status_code == 200:
            self.etag.unlink(missing_ok=True)

    def _write(self, chunks: Iterator[bytes], part: BinaryIO, total: int | None) -> None:
        done = part.tell()
        self.progress(done, total)
        for chunk in chunks:
            part.write(chunk)
            done += len(chunk)
            self.progress(done, total)
            self._check_time()

    def _check_free_space(self, size: int) -> None:
        if shutil.disk_usage(self.folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _request_timeout(self) -> float:
        self._check_time()
        return self.timeout if self.deadline is None else max(0.1, min(self.timeout, self.deadline - time.monotonic()))

    def _check_time(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            size = self._part_size()
            kind = FetchFailed if size else NoConnection
            raise kind(f"{self.name}: the time is up after {size} bytes; the next fetch continues from there.")

    def _part_size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _drop_part(self) -> None:
        self.part.unlink(missing_ok=True)
        self.etag.unlink(missing_ok=True)

    # --- from the part to the file ---

    def _finish(self, path: Path) -> FetchResult:
        """Check the part and give it its name, or remove it and raise what is wrong with it."""
        size, part_sum = self._part_size(), _sha256(self.part)
        if self.entry.archive is None and self.entry.size not in (None, size):
            self._drop_part()
            raise FetchFailed(f"{self.name} has {size} bytes, but the registry says {self.entry.size}.")
        self._check_published_md5()
        if self.entry.archive is None:
            self._check_sum(self.name, part_sum, self.sum)
            complete, sums = self.part, RecordedSums(part_sum)
        else:
            self._check_sum(self.name, part_sum, self.archive_sum)
            complete = self._extract_model()
            sums = RecordedSums(_sha256(complete), part_sum)
            self._check_sum(self.entry.file, sums.file, self.sum, complete)
        is_first = self.sum is None
        if is_first:
            write_recorded(self.folder, self.entry.id, sums)
        with complete.open("rb") as file:
            os.fsync(file.fileno())
        complete.replace(path)
        self._drop_part()
        return FetchResult(path, downloaded=True, recorded=part_sum if is_first else None)

    def _check_published_md5(self) -> None:
        """Compare with the sum that the publisher gives, where no sha256 is known yet."""
        if self.entry.md5 is None or self.sum is not None:
            return
        with self.part.open("rb") as file:
            # it finds damage; it is not safe against someone who makes another file with the same sum
            actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if actual != self.entry.md5:
            self._drop_part()
            expected = f"its publisher has {self.entry.md5}"
            raise FetchFailed(f"{self.name} has the md5 {actual}, but {expected}: the download was deleted.")

    def _check_sum(self, name: str, actual: str, expected: str | None, *extracted: Path) -> None:
        """Compare checksums; if they differ, delete the part and the extracted files."""
        if expected in (None, actual):
            return
        for path in extracted:
            path.unlink(missing_ok=True)
        self._drop_part()
        known = "the registry has" if self.entry.sha256 else "at the first download it was"
        raise FetchFailed(f"{name} has the sha256 {actual}, but {known} {expected}: the download was deleted.")

    def _extract_model(self) -> Path:
        """Extract the model's file from the archive, into the folder."""
        target = self.folder / f"{self.entry.file}.part"
        suffix = Path(self.entry.file).suffix
        try:
            with zipfile.ZipFile(self.part) as archive:
                names = [name for name in archive.namelist() if name.endswith(suffix) and "__MACOSX" not in name]
                if len(names) != 1:
                    raise zipfile.BadZipFile(f"{len(names)} files in it end in {suffix}, not one")
                self._check_free_space(archive.getinfo(names[0]).file_size)
                with archive.open(names[0]) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            target.unlink(missing_ok=True)
            self._drop_part()
            raise FetchFailed(f"{self.name} is no zip with the model in it ({error}): it was deleted.") from error
        return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_storage_error(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is not enough space for it on the disk of {folder}."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = f" Set {VARIABLE} to a writable folder." if folder == MODELS_FOLDER else ""
        return f"the folder {folder} is not writable.{hint}"
    return f"it cannot be stored in {folder} ({error.strerror or type(error).__name__})."
