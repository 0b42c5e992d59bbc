"""Store an object while its bytes arrive: S3's multipart upload. One part is in memory at a time."""

from __future__ import annotations

import logging
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from anonymizer.stores.faults import translated

__all__ = ["MultipartReception"]

log = logging.getLogger(__name__)


class MultipartReception:
    """An object of which part after part is sent.

    Args:
        client: of boto3.
        patient_client: the same, but it waits until all parts are put together.
        bucket: the name of the bucket.
        key: of the object.
        media_type: of the object.
        part_bytes: the size of the parts, at least 5 MiB.

    Raises:
        StorageAway: the storage does not answer.
    """

    def __init__(
        self, client: Any, patient_client: Any, bucket: str, key: str, media_type: str, part_bytes: int
    ) -> None:
        self._client, self._patient_client, self._part_bytes = client, patient_client, part_bytes
        self._place = {"Bucket": bucket, "Key": key}
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._ended = False
        with translated():
            begun = client.create_multipart_upload(**self._place, ContentType=media_type)
        self._place["UploadId"] = begun["UploadId"]

    def write(self, data: bytes) -> None:
        """Take the next bytes, and send a part when it is full.

        Raises:
            StorageAway: the storage does not answer.
        """
        self._buffer += data
        while len(self._buffer) >= self._part_bytes:
            self._send(bytes(self._buffer[: self._part_bytes]))
            del self._buffer[: self._part_bytes]

    def finish(self) -> None:
        """Make the object appear.

        Raises:
            StorageAway: the storage does not answer.
        """
        if self._buffer or not self._parts:
            self._send(bytes(self._buffer))
            self._buffer.clear()
        with translated():
            self._patient_client.complete_multipart_upload(**self._place, MultipartUpload={"Parts": self._parts})
        self._ended = True

    def abort(self) -> None:
        """Leave nothing of the object. What S3 keeps while it does not answer, the clean-up removes."""
        self._buffer.clear()
        if self._ended:
            return
        self._ended = True
        try:
            self._client.abort_multipart_upload(**self._place)
        except (BotoCoreError, ClientError) as error:
            log.warning("A part of an upload was not removed (%s). The clean-up does it.", type(error).__name__)

    def _send(self, content: bytes) -> None:
        number = len(self._parts) + 1
        with translated():
            sent = self._client.upload_part(**self._place, PartNumber=number, Body=content)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
