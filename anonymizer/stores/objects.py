"""A store in an S3-compatible service. Nothing is held in memory but small parts of files."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from django.core.files.base import ContentFile
from django.core.files.base import File as DjangoFile
from storages.backends.s3 import S3Storage

from anonymizer.pipeline.errors import StorageAway
from anonymizer.stores.base import COPY_BYTES, Reception, Store, StoredBytes
from anonymizer.stores.faults import BROKEN_STREAM, translated
from anonymizer.stores.multipart import MultipartReception

__all__ = ["ObjectStorage", "ObjectStore"]

#: objects that S3 lists, and removes, with one request
MOST_KEYS = 1000
#: S3 takes 10,000 parts of an object: with parts of this size 80 GB
PART_BYTES = 2**23
#: parts that are under way at once, for a file that lies on a disk
AT_ONCE = 2
#: an answer that breaks off is asked for again, from where it broke off, so many times in a row
TRIES = 4
RETRY_S = 0.5
#: how long an answer to a probe is used again: load balancers ask often
PROBE_S = 3.0
#: How long to wait for an answer, in seconds: usually, at a probe, and where the service joins the parts of a large
#: object before it answers.
READ_S, PROBE_READ_S, JOIN_S = 30, 3, 600
_clients: dict[tuple[Any, ...], Any] = {}
_lock = threading.Lock()


class ObjectStorage(S3Storage):  # type: ignore[misc]
    """The storage of django-storages, with an address for clients besides that for this server.

    Args:
        public_endpoint: what pre-signed addresses begin with. Default: the endpoint.
        settings: as django-storages documents them.
    """

    is_object_storage = True

    def __init__(self, *, public_endpoint: str | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self.public_endpoint = public_endpoint

    def client(self, *, public: bool = False, read_s: int = READ_S) -> Any:
        """Return the client of this process; all threads share it.

        Args:
            public: it only signs addresses, for the address that clients know.
            read_s: how long it waits for an answer, in seconds. One that waits for a few seconds tries once only.
        """
        endpoint = (self.public_endpoint if public else None) or self.endpoint_url
        # a connection must not be shared with a process that was forked
        key = (
            os.getpid(),
            endpoint,
            self.region_name,
            self.access_key,
            self.secret_key,
            self.addressing_style,
            read_s,
        )
        with _lock:
            if key not in _clients:
                _clients[key] = self._new_client(endpoint, read_s)
            return _clients[key]

    def _new_client(self, endpoint: str | None, read_s: int) -> Any:
        tries, wait_s = (1, 2) if read_s < READ_S else (3, 5)
        config = Config(
            signature_version=self.signature_version,
            s3={"addressing_style": self.addressing_style},
            connect_timeout=wait_s,
            read_timeout=read_s,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=64,
            tcp_keepalive=True,
            # servers other than Amazon's do not know the newer checksums; our own are in the database
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint,
            region_name=self.region_name,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            aws_session_token=self.security_token,
            config=config,
        )


class ObjectStore(Store):
    """Objects of a bucket whose keys have the same beginning."""

    removes_together = True
    streams = True

    def __init__(self, storage: Any) -> None:
        super().__init__(storage)
        self._s3: ObjectStorage = storage
        self._bucket: str = storage.bucket_name
        self._prefix = f"{storage.location.strip('/')}/" if storage.location.strip("/") else ""
        self._probed: tuple[float, str] = (-PROBE_S, "")

    def save(self, key: str, content: DjangoFile[bytes] | ContentFile[bytes], media_type: str) -> str:
        """Store a file; S3 shows an object when all of it has arrived."""
        source: Any = content.file
        source.seek(0)
        transfer = TransferConfig(
            multipart_threshold=2 * PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=AT_ONCE
        )
        with translated():
            if isinstance(source, io.BytesIO):
                self._call("put_object", key, Body=source, ContentType=media_type)
            elif isinstance(name := getattr(source, "name", None), str) and Path(name).is_file():
                # by its path, so that parts are read when they are sent
                self._s3.client(read_s=JOIN_S).upload_file(
                    name, self._bucket, self._full(key), ExtraArgs={"ContentType": media_type}, Config=transfer
                )
            else:
                self._s3.client(read_s=JOIN_S).upload_fileobj(
                    source, self._bucket, self._full(key), ExtraArgs={"ContentType": media_type}, Config=transfer
                )
        return key

    def open(self, key: str, first: int = 0, length: int | None = None) -> Any:
        """Open a file, or a part of it; only that part is transferred."""
        return _ObjectReader(self._get, key, first, length)

    def fetch(self, key: str, path: Path) -> None:
        """Copy a file to a path of this machine, with little memory."""
        content = self.open(key)
        try:
            with path.open("wb") as file:
                while block := content.read(COPY_BYTES):
                    file.write(block)
        finally:
            content.close()

    def duplicate(self, key: str, new: str) -> bool:
        """Copy a file within the bucket; S3 does it."""
        source = {"Bucket": self._bucket, "Key": self._full(key)}
        with translated():
            self._s3.client(read_s=JOIN_S).copy(
                source, self._bucket, self._full(new), Config=TransferConfig(max_concurrency=AT_ONCE)
            )
        return True

    def look(self, key: str) -> StoredBytes | None:
        """Return size and time of a file; None if it does not exist."""
        try:
            with translated():
                found = self._call("head_object", key)
        except FileNotFoundError:
            return None
        return StoredBytes(key, found["ContentLength"], found["LastModified"])

    def existing(self, keys: Collection[str]) -> set[str]:
        """Return those of the keys that are there. Keys that are near each other are found with one request."""
        wanted, found = sorted(set(keys)), set()
        while wanted:
            # an object's name without its end comes before it
            page = self._list(StartAfter=self._full(wanted[0])[:-1], MaxKeys=min(MOST_KEYS, 10 * len(wanted)))
            there = {each["Key"].removeprefix(self._prefix) for each in page.get("Contents", ())}
            found |= there.intersection(wanted)
            if not page.get("IsTruncated"):
                break
            last = max(there)
            wanted = [key for key in wanted if key > last]
        return found

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files, a thousand with one request."""
        for start in range(0, len(keys), MOST_KEYS):
            objects = [{"Key": self._full(key)} for key in keys[start : start + MOST_KEYS]]
            with translated():
                answer = self._s3.client().delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            if refused := answer.get("Errors"):
                raise StorageAway(f"{len(refused)} objects could not be removed ({refused[0].get('Code')}).")

    def walk(self, is_own: Callable[[str], bool]) -> Iterator[StoredBytes]:
        """Find all files in the order of their keys, a thousand with one request."""
        after = ""
        while True:
            page = self._list(**({"StartAfter": after} if after else {}))
            for each in page.get("Contents", ()):
                key = each["Key"].removeprefix(self._prefix)
                if "/" in key and is_own(key.partition("/")[0]):
                    yield StoredBytes(key, each["Size"], each["LastModified"])
            if not page.get("IsTruncated"):
                return
            after = page["Contents"][-1]["Key"]

    def receive(self, key: str, media_type: str) -> Reception:
        """Begin to store a file of which only the beginning is known."""
        return MultipartReception(
            self._s3.client(), self._s3.client(read_s=JOIN_S), self._bucket, self._full(key), media_type, PART_BYTES
        )

    def abort_receptions(self, before: datetime) -> int:
        """Remove the parts of old objects that were never finished."""
        aborted = 0
        with translated():
            client = self._s3.client()
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for upload in (each for page in pages for each in page.get("Uploads", ())):
                if upload["Initiated"] < before:
                    client.abort_multipart_upload(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    aborted += 1
        return aborted

    def address(self, key: str, *, media_type: str, disposition: str, seconds: int) -> str:
        """Return a pre-signed address of a file. Nothing is asked of S3 for it."""
        wanted = {"ResponseContentType": media_type, "ResponseContentDisposition": disposition}
        return str(
            self._s3.client(public=True).generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": self._full(key), "ResponseCacheControl": "no-store", **wanted},
                ExpiresIn=seconds,
            )
        )

    def problem(self) -> str:
        """Return what is wrong with the bucket. Nothing is written, and S3 is asked once in some seconds."""
        asked_s, answer = self._probed
        if time.monotonic() - asked_s >= PROBE_S:
            try:
                self._s3.client(read_s=PROBE_READ_S).head_bucket(Bucket=self._bucket)
                answer = ""
            except Exception as error:
                answer = f"does not answer ({type(error).__name__})"
            self._probed = time.monotonic(), answer
        return answer

    def _full(self, key: str) -> str:
        return self._prefix + key

    def _call(self, operation: str, key: str, **given: Any) -> Any:
        return getattr(self._s3.client(), operation)(Bucket=self._bucket, Key=self._full(key), **given)

    def _get(self, key: str, wanted: str | None) -> Any:
        with translated():
            return self._call("get_object", key, **({"Range": wanted} if wanted else {}))["Body"]

    def _list(self, **given: Any) -> Any:
        with translated():
            return self._s3.client().list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, **given)


class _ObjectReader:
    """Read an object, or a part of it, once. An answer that breaks off goes on from where it broke off."""

    def __init__(self, get: Callable[[str, str | None], Any], key: str, first: int, length: int | None) -> None:
        self._get, self._key, self._next = get, key, first
        self._end = None if length is None else first + length
        self._body = self._open()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, `size` at most; none at the end.

        Raises:
            StorageAway: the storage does not answer.
        """
        for tries in range(1, TRIES + 1):
            try:
                content = bytes(self._body.read(size if size >= 0 else None))
                break
            except BROKEN_STREAM as error:
                if tries == TRIES:
                    raise StorageAway from error
                time.sleep(RETRY_S * tries)
                self.close()
                self._body = self._open()
        self._next += len(content)
        return content

    def close(self) -> None:
        """Give the connection back, or close it where bytes are left in it."""
        self._body.close()

    def _open(self) -> Any:
        last = "" if self._end is None else str(self._end - 1)
        return self._get(self._key, f"bytes={self._next}-{last}" if self._next or last else None)
