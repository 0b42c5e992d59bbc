"""Receive files: on the disk that they stay on, and only as long as they are not too large for their kind."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler

from anonymizer.models.tasks import time_ordered_id
from anonymizer.service import engine, files
from anonymizer.service.inspection import inspect_beginning
from anonymizer.service.submit import check_size
from anonymizer.stores import streamed

__all__ = ["DiskUploadHandler"]


class _Received(TemporaryUploadedFile):
    """An upload on the disk of the input storage, so that storing it only renames it."""

    def __init__(self, name: str | None, content_type: str | None, charset: str | None, extra: Any) -> None:
        file = tempfile.NamedTemporaryFile(suffix=".upload", dir=files.uploads_folder())  # noqa: SIM115 (Django closes it)
        UploadedFile.__init__(self, file, name, content_type, 0, charset, extra)


class DiskUploadHandler(TemporaryFileUploadHandler):
    """Write uploads to disk, or send them on to the storage; stop as soon as an image or a video is too large."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file; Django calls this."""
        FileUploadHandler.new_file(self, *args, **kwargs)
        self._head = b""
        self._streams = False
        self._sent_on: streamed.StreamedUpload | None = None
        self.file = _Received(self.file_name, self.content_type, self.charset, self.content_type_extra)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write a part of the file; Django calls this.

        Raises:
            TooLarge: the file is too large.
            BrokenMedia: it is a large video whose beginning cannot be read; or another error of `inspect_beginning`.
            OSError: there is no room on the disk.
            StorageAway: the storage does not answer.
        """
        try:
            if start == 0:
                self._head = raw_data
                check_size(self._head, len(raw_data))
                self._streams = streamed.is_streamed(raw_data)
            check_size(self._head, start + len(raw_data))
            if self._streams and self._sent_on is None and start >= streamed.LOCAL_BYTES:
                self._send_on()
            if self._sent_on is None:
                super().receive_data_chunk(raw_data, start)
            else:
                self._sent_on.receive(raw_data)
        except BaseException:
            self._drop()
            raise

    def _send_on(self) -> None:
        """Check the beginning of a large video, and send it and the rest to the storage."""
        self.file.flush()
        inspect_beginning(Path(self.file.temporary_file_path()), limits=engine.limits())
        self._sent_on = streamed.begin(
            self.file_name, self.content_type, cast("BinaryIO", self.file), time_ordered_id()
        )

    def file_complete(self, file_size: int) -> Any:
        """End a file; Django calls this. What is still in the buffer may find no room on the disk."""
        if self._sent_on is not None:
            return self._sent_on
        try:
            return super().file_complete(file_size)
        except BaseException:
            self._drop()
            raise

    def upload_interrupted(self) -> None:
        """Leave nothing of an upload whose client went away; Django calls this."""
        if hasattr(self, "file"):
            self._drop()

    def _drop(self) -> None:
        if self._sent_on is not None:
            self._sent_on.close()
        # on a full disk, closing fails for the same reason, and removes the file all the same
        with suppress(OSError):
            self.file.close()
