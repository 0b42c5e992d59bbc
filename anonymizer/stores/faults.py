"""Errors of S3 as errors of ours: what is gone, what is full, and what passes by waiting."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from urllib3.exceptions import HTTPError

from anonymizer.pipeline.errors import StorageAway

__all__ = ["BROKEN_STREAM", "translated"]

log = logging.getLogger(__name__)
#: what reading an answer may raise when the connection breaks
BROKEN_STREAM = (BotoCoreError, HTTPClientError, HTTPError, ConnectionError, TimeoutError)
_GONE = ("NoSuchKey", "404", "NotFound")
_FULL = ("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507")


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of S3 into errors of ours while the block runs.

    What the service refuses, such as a key that is not valid any more, counts as away: it is no fault of a file, and an
    operator can put it right.

    Raises:
        FileNotFoundError: there is no such object.
        OSError: the service has no room.
        StorageAway: the service does not answer, or refuses.
    """
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            raise FileNotFoundError("The object does not exist.") from None
        if code in _FULL:
            raise OSError(errno.ENOSPC, "The object storage has no room.") from None
        log.warning("The object storage refused a request (%s, %s).", error.operation_name, code)
        raise StorageAway from error
    except BROKEN_STREAM as error:
        log.warning("The object storage does not answer (%s).", type(error).__name__)
        raise StorageAway from error
