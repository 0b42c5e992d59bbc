"""Send stored files, whole or one range of their bytes (RFC 9110, section 14), so that browsers can seek in a video."""

from __future__ import annotations

import re

from django.conf import settings
from django.http import FileResponse, HttpResponse, HttpResponseNotModified
from django.utils.http import content_disposition_header, parse_etags
from rest_framework.request import Request

from anonymizer.api.exceptions import Deleted, NoSuchRange
from anonymizer.models import File, FileKind

__all__ = ["label", "not_modified", "send"]

BLOCK_BYTES = 2**18
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE | re.ASCII)


class _FileAnswer(FileResponse):
    block_size = BLOCK_BYTES


def not_modified(request: Request, tag: str) -> HttpResponse | None:
    """Return the answer 304 if the caller has this version of a result already; else None."""
    wanted = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" not in wanted and tag not in [each.removeprefix("W/") for each in wanted]:
        return None
    answer = HttpResponseNotModified()
    label(answer, tag)
    return answer


def label(answer: HttpResponse | FileResponse, tag: str) -> None:
    """Let the caller keep a result, and ask each time whether it is still there."""
    answer["ETag"] = tag
    # not `no-store`: a copy that is never kept cannot be asked for by its ETag
    answer["Cache-Control"] = "private, no-cache"


def send(request: Request, stored: File) -> FileResponse | HttpResponse:
    """Answer with a stored file, or with the range of it that the request asks for.

    Results may be kept and are asked for again by their ETag. Originals must not be kept.

    Raises:
        Deleted: the file does not exist any more.
        StorageAway: the storage does not answer.
        NoSuchRange: the range begins after the end of the file.
    """
    tag = f'"{stored.sha256}"'
    keepable = stored.kind != FileKind.ORIGINAL
    if keepable and (answer := not_modified(request, tag)):
        return answer
    # ranges are defined for GET only, and If-Range names the version of the file that the caller has a part of
    wanted = request.method == "GET" and request.headers.get("If-Range", tag).strip() == tag
    part = _range(request.headers.get("Range", ""), stored.size) if wanted else None
    if (elsewhere := _address(request, stored)) is not None:
        return elsewhere
    try:
        if part is None:
            sent = _FileAnswer(stored.open(), content_type=stored.media_type, filename=stored.name)
            sent["Content-Length"] = str(stored.size)
        else:
            first, last = part
            length = last - first + 1
            content = stored.open(first, length)
            sent = _FileAnswer(content, content_type=stored.media_type, filename=stored.name, status=206)
            sent["Content-Range"] = f"bytes {first}-{last}/{stored.size}"
            sent["Content-Length"] = str(length)
    except FileNotFoundError:
        raise Deleted(f"The files of task {stored.task_id} were deleted.") from None
    sent["Accept-Ranges"] = "bytes"
    sent["X-Content-Type-Options"] = "nosniff"
    if keepable:
        label(sent, tag)
    else:
        sent["ETag"] = tag
        sent["Cache-Control"] = "private, no-store"
    return sent


def _address(request: Request, stored: File) -> HttpResponse | None:
    """The answer that sends a caller to the storage itself; None if this server answers with the bytes.

    Pages get the bytes: for their scripts the storage would have to allow them. The address is signed for GET, so HEAD
    is answered here too.
    """
    is_script = request.headers.get("Sec-Fetch-Mode", "") in ("cors", "same-origin")
    # elements of a page may show files of this server only: so its content security policy says
    is_element = request.headers.get("Sec-Fetch-Dest", "") in ("image", "video", "audio")
    if settings.PRESIGNED is None or request.method != "GET" or is_script or is_element:
        return None
    shown_as = content_disposition_header(False, stored.name)
    address = stored.store.address(
        stored.key,
        media_type=stored.media_type,
        disposition=shown_as or "inline",
        seconds=int(settings.PRESIGNED.total_seconds()),
    )
    if address is None:
        return None
    answer = HttpResponse(status=302)
    # not `HttpResponseRedirect`: that would quote what is signed
    answer["Location"] = address
    answer["Cache-Control"] = "private, no-store"
    answer["ETag"] = f'"{stored.sha256}"'
    return answer


def _range(header: str, size: int) -> tuple[int, int] | None:
    """The first and the last byte to send. None if the whole file is sent: for no range, several, or an invalid one."""
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        # the last bytes of the file, as many as the header says
        first, last = max(0, size - int(match[2])), size - 1
    else:
        first, last = int(match[1]), min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
    if first >= size:
        raise NoSuchRange(size)
    return first, last
