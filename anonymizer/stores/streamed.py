"""Uploads that are stored while they are received: no copy of them is made in memory or on a disk of this machine."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile

from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.pipeline.media_kinds import HEAD_BYTES, MediaInfo, MediaKind, sniff
from anonymizer.stores.base import Reception
from anonymizer.stores.choice import store

__all__ = ["StreamedUpload", "begin"]


class StreamedUpload(UploadedFile):  # type: ignore[type-arg]
    """A video on its way into the storage. Only its beginning can be read, and only its task can finish it.

    Attributes:
        task_id: the id that its task will have, because its key begins with it.
        key: its name in the storage of uploads.
        head: its first bytes.
        sha256: of the bytes so far.
    """

    def __init__(self, name: str | None, content_type: str | None, head: bytes, info: MediaInfo, task_id: UUID) -> None:
        super().__init__(None, name, content_type, 0)
        self.size: int = 0
        self.task_id = task_id
        self.key = f"{task_id}/original{info.extension}"
        self.head = head[:HEAD_BYTES]
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
        self._reception.abort()


def begin(name: str | None, content_type: str | None, first: bytes, task_id: UUID) -> StreamedUpload | None:
    """Begin to store an upload while it is received.

    Args:
        name: of the upload's file.
        content_type: what the client says that it is.
        first: its first bytes; they are not taken yet.
        task_id: the id that its task will have.

    Returns:
        None if a local file has to be made: for a picture, which decoders look at before it is accepted, and where
        the storage is a folder.

    Raises:
        StorageAway: the storage does not answer.
    """
    if not store("input").streams:
        return None
    try:
        info = sniff(first)
    except AnonymizerError:
        # it is refused when it has arrived
        return None
    if info.kind is not MediaKind.VIDEO:
        return None
    return StreamedUpload(name, content_type, first, info, task_id)
