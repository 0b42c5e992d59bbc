"""What holds for every request, whatever part of the server answers it: its host, its body, and errors as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.http.multipartparser import MultiPartParserError

from anonymizer.api.exceptions import error_object
from anonymizer.pipeline.errors import TooLarge
from anonymizer.service import engine
from anonymizer.service.monitoring import counters, log_context

__all__ = ["MULTIPART_OVERHEAD", "HTTPLayer", "most_bytes"]

#: the most bytes of a multipart body besides the file: boundaries, part headers, text fields
MULTIPART_OVERHEAD = 2**20
#: a DNS name has at most 253 characters
MOST_HOST_CHARACTERS = 260
#: headers that an error keeps when its body becomes JSON
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Connection")
#: where forms show their errors themselves
ADMIN = "/admin/"


def most_bytes() -> int:
    """Return how many bytes the body of an upload may have, for the largest kind of file."""
    return max(settings.MAX_BYTES, settings.MAX_VIDEO_BYTES if engine.takes_videos() else 0) + MULTIPART_OVERHEAD


class HTTPLayer:
    """Middleware that prepares each request, and answers every error with the JSON object of the contract."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a request, count it, and have its lines in the log name its task."""
        began = time.perf_counter()
        with log_context.about():
            answer = self._answer(request)
        found = request.resolver_match
        route = f"/{found.route}" if found is not None else "none"
        counters.count_request(route, request.method or "", answer.status_code, time.perf_counter() - began)
        return answer

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Note which task a request is about; Django calls this once it knows the address."""
        if task_id := kwargs.get("task_id"):
            log_context.name(task_id)

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if len(request.META.get("HTTP_HOST", "")) > MOST_HOST_CHARACTERS:
            sentence = f"The header Host has more than the {MOST_HOST_CHARACTERS} characters that a name may have."
            return JsonResponse(error_object(400, sentence, "invalid_host"), status=400)
        if "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower() and not _take_chunks(request):
            sentence = "The request does not tell its length. Send it with the header Content-Length."
            return JsonResponse(error_object(411, sentence), status=411)
        return _as_json(request, self._get_response(request))


def _take_chunks(request: HttpRequest) -> bool:
    """Let a body without a length be read to its end. Return whether this server can."""
    stream = request.META.get("wsgi.input")
    if stream is None or not request.META.get("wsgi.input_terminated") or request.path != "/v1/file":
        return False
    limit = most_bytes()
    # Django and Django REST framework read as many bytes as this says, or fewer if the body ends
    request.META["CONTENT_LENGTH"] = str(limit)
    request._stream = _ChunkedBody(stream, limit)  # type: ignore[assignment]
    return True


class _ChunkedBody:
    """A body of unknown length that may have a number of bytes at most."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit, self._count = stream, limit, 0

    def read(self, size: int = -1) -> bytes:
        return self._take(self._stream.read, 2**16 if size is None or size < 0 else size)

    def readline(self, size: int = -1) -> bytes:
        return self._take(self._stream.readline, 2**16 if size is None or size < 0 else size)

    def _take(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            content = bytes(read(size))
        except TimeoutError:
            raise
        except Exception as error:
            # errors of the web server, such as a chunk without an end
            raise MultiPartParserError(f"The body of the request is broken ({type(error).__name__}).") from error
        self._count += len(content)
        if self._count > self._limit:
            raise TooLarge(f"The request has more than the {self._limit} bytes that this server accepts.")
        return content


def _as_json(request: HttpRequest, answer: HttpResponseBase) -> HttpResponseBase:
    """The answer, or where it is an error in another format, the same as JSON."""
    status = answer.status_code
    if status < 400 or "json" in answer.get("Content-Type", "") or request.path.startswith(ADMIN):
        return answer
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    error = JsonResponse(error_object(status, f"{request.method} {request.path} was refused: {phrase}."), status=status)
    for name in KEPT_HEADERS:
        if name in answer:
            error[name] = answer[name]
    answer.close()
    return error
