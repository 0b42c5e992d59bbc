"""Send masks at a smaller size than they are stored, with little memory and few at a time."""

from __future__ import annotations

import tempfile
import threading
from contextlib import closing
from typing import BinaryIO, cast

from django.http import FileResponse

from anonymizer.api.exceptions import Deleted, Unavailable
from anonymizer.models import File
from anonymizer.pipeline.outputs.png_strips import scale_mask

__all__ = ["send_scaled"]

#: masks that are made smaller at once; a large one keeps a core busy for seconds
AT_ONCE = 2
WAIT_S = 20
#: a result that is larger than this is kept on disk
MEMORY_BYTES = 2**22
_places = threading.BoundedSemaphore(AT_ONCE)


def send_scaled(stored: File, percent: int) -> FileResponse:
    """Answer with a mask at a smaller size.

    Args:
        stored: a PNG mask at full size.
        percent: 1..99.

    Raises:
        Deleted: the file does not exist any more.
        Unavailable: too many masks are being made.
        StorageAway: the storage does not answer.
    """
    if not _places.acquire(timeout=WAIT_S):
        raise Unavailable("The server is making too many masks smaller. Try again later.", "busy", retry_after=5)
    small = tempfile.SpooledTemporaryFile(MEMORY_BYTES, suffix=".mask")  # noqa: SIM115 (Django closes it)
    try:
        with closing(stored.open()) as content:
            scale_mask(cast("BinaryIO", content), cast("BinaryIO", small), percent)
        size = small.tell()
        small.seek(0)
    except FileNotFoundError:
        small.close()
        raise Deleted(f"The files of task {stored.task_id} were deleted.") from None
    except BaseException:
        small.close()
        raise
    finally:
        _places.release()
    answer = FileResponse(small, content_type=stored.media_type, filename=stored.name)
    answer["Content-Length"] = str(size)
    answer["ETag"] = f'"{stored.sha256}-{percent}"'
    answer["X-Content-Type-Options"] = "nosniff"
    return answer
