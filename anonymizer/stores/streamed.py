"""Large uploads that are stored while they are received: only their beginning is on a disk of this machine."""

from __future__ import annotations

import hashlib
from typing import BinaryIO
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile

from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.stores.base import Reception
from anonymizer.stores.choice import store

__all__ = ["LOCAL_BYTES", "StreamedUpload", "begin", "is_streamed"]

#: so many bytes of an upload are received on this machine, and checked, before the storage gets any of them
LOCAL_BYTES = 32 * 2**20
_CHUNK_BYTES = 2**20


class StreamedUpload(UploadedFile):  # type: ignore[type-arg]
    """A video on its way into the storage. Only its beginning can be read, and only its task can finish it.

    Attributes:
        task_id: the id that its task will have, because its key begins with it.
        key: its name in the storage of uploads.
        beginning: a file of this machine with its first bytes; it is closed with the upload.
        head: the first of them.
        info: its format.
        sha256: of the bytes so far.
    """

    def __init__(
        self, name: str | None, content_type: str | None, beginning: BinaryIO, info: MediaInfo, task_id: UUID
    ) -> None:
        super().__init__(None, name, content_type, 0)
        self.size: int = 0
        self.task_id = task_id
        self.key = f"{task_id}/original{info.extension}"
        self.beginning, self.info = beginning, info
        beginning.seek(0)
        self.head = beginning.read(HEAD_BYTES)
        self._sum = hashlib.sha256()
        reception = store("input").receive(self.key, info.media_type)
        assert reception is not None, "`begin` has asked"
        self._reception: Reception = reception

    def receive(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            StorageAway: the storage does not answer.
        """
        self._sum.update(data)
        self._reception.write(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """The checksum of the bytes so far, as hexadecimal digits."""
        return self._sum.hexdigest()

    def finish(self) -> None:
        """Have the file appear in the storage.

        Raises:
            StorageAway: the storage does not answer.
        """
        self._reception.finish()

    def close(self) -> None:
        """Leave nothing of it, unless it is finished; Django calls this at the end of a request."""
        self.beginning.close()
        self._reception.abort()


def is_streamed(first: bytes) -> bool:
    """Return whether an upload that begins with these bytes is sent on while it is received, if it is large.

    Where the storage is a folder, and for pictures, a local file has to be made.
    """
    if not store("input").streams:
        return False
    try:
        return sniff(first).kind is MediaKind.VIDEO
    except AnonymizerError:
        # it is refused when it has arrived
        return False


def begin(name: str | None, content_type: str | None, beginning: BinaryIO, task_id: UUID) -> StreamedUpload:
    """Begin to store an upload while it is received.

    Args:
        name: of the upload's file.
        content_type: what the client says that it is.
        beginning: a file with what has arrived so far; the storage gets it now.
        task_id: the id that its task will have.

    Raises:
        AnonymizerError: it is no video.
        StorageAway: the storage does not answer.
    """
    beginning.seek(0)
    info: MediaInfo = sniff(beginning.read(HEAD_BYTES))
    upload = StreamedUpload(name, content_type, beginning, info, task_id)
    try:
        beginning.seek(0)
        while data := beginning.read(_CHUNK_BYTES):
            upload.receive(data)
    except BaseException:
        upload.close()
        raise
    return upload
