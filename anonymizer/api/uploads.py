"""Receive files: on the disk that they stay on, and only as long as they are not too large for their kind."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler

from anonymizer.service import files
from anonymizer.service.submit import check_size

__all__ = ["DiskUploadHandler"]


class _Received(TemporaryUploadedFile):
    """An upload on the disk of the input storage, so that storing it only renames it."""

    def __init__(self, name: str | None, content_type: str | None, charset: str | None, extra: Any) -> None:
        file = tempfile.NamedTemporaryFile(suffix=".upload", dir=files.uploads_folder())  # noqa: SIM115 (Django closes it)
        UploadedFile.__init__(self, file, name, content_type, 0, charset, extra)


class DiskUploadHandler(TemporaryFileUploadHandler):
    """Write uploads to disk, and stop as soon as an image or a video is larger than allowed."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file; Django calls this."""
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = _Received(self.file_name, self.content_type, self.charset, self.content_type_extra)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write a part of the file; Django calls this.

        Raises:
            TooLarge: the file is too large.
            OSError: there is no room on the disk.
        """
        if start == 0:
            self._head = raw_data
        try:
            check_size(self._head, start + len(raw_data))
            super().receive_data_chunk(raw_data, start)
        except BaseException:
            # on a full disk, closing fails for the same reason, and removes the file all the same
            with suppress(OSError):
                self.file.close()
            raise

    def file_complete(self, file_size: int) -> Any:
        """End a file; Django calls this. What is still in the buffer may find no room on the disk."""
        try:
            return super().file_complete(file_size)
        except BaseException:
            with suppress(OSError):
                self.file.close()
            raise
