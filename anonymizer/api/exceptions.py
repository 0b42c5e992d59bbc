"""Answer every error with the JSON object of the contract."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, JsonResponse, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response

from anonymizer.pipeline.errors import AnonymizerError
from anonymizer.service.queueing.outages import AWAY

__all__ = [
    "Deleted",
    "NoSuchRange",
    "NotFound",
    "NotReady",
    "TaskFailed",
    "Unavailable",
    "error_answer",
    "handle",
    "plain_answer",
]

log = logging.getLogger(__name__)
INTERNAL_ERROR = "The server had an internal error. The log of the server says more."
NO_SUCH_ADDRESS = "There is nothing at this address."


class NotFound(AnonymizerError):
    """There is no task or file with this id."""

    status = 404
    code = "not_found"


class NotReady(AnonymizerError):
    """The task is not done, or it has no result of this kind."""

    status = 409
    code = "not_ready"

    def __init__(self, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Deleted(AnonymizerError):
    """The task's files were deleted."""

    status = 410
    code = "deleted"


class Unavailable(AnonymizerError):
    """No worker is alive."""

    status = 503
    code = "no_worker"
    retry_after = 10


class NoSuchRange(AnonymizerError):
    """The requested range begins after the end of the file."""

    status = 416
    code = "no_such_range"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes. The requested range begins after its end.")
        self.size = size


class TaskFailed(AnonymizerError):
    """The task of a synchronous request failed. The status is that of the cause."""

    def __init__(self, sentence: str, code: str, task_id: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = _STATUS_OF_CAUSE.get(code, 500)
        self.task_id = task_id


def _statuses(kind: type[AnonymizerError]) -> dict[str, int]:
    """The HTTP status of each error code, of a class and its subclasses."""
    statuses = {kind.code: kind.status}
    for subclass in kind.__subclasses__():
        statuses |= _statuses(subclass)
    return statuses


_STATUS_OF_CAUSE = _statuses(AnonymizerError)
#: status and code of errors that Django and Django REST framework raise
_FRAMEWORK_ERRORS = {
    exceptions.ParseError: (400, "invalid_request"),
    exceptions.UnsupportedMediaType: (400, "missing_file"),
    exceptions.MethodNotAllowed: (405, "method_not_allowed"),
    exceptions.NotAcceptable: (406, "not_acceptable"),
    exceptions.NotFound: (404, "not_found"),
    Http404: (404, "not_found"),
    PermissionDenied: (403, "forbidden"),
    RequestDataTooBig: (413, "too_large"),
    SuspiciousOperation: (400, "invalid_request"),
    UnreadablePostError: (408, "timeout"),
}


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Turn an error into a response; Django REST framework calls this."""
    if isinstance(error, AnonymizerError):
        answer = _answer(error.status, error.code, str(error))
        if isinstance(error, TaskFailed):
            answer.data["task"] = error.task_id
        retry_after = getattr(error, "retry_after", 10 if error.status == 503 else None)
        if retry_after is not None:
            answer["Retry-After"] = str(retry_after)
        if error.status == 401:
            answer["WWW-Authenticate"] = "Bearer"
        if isinstance(error, NoSuchRange):
            answer["Content-Range"] = f"bytes */{error.size}"
        return answer
    if isinstance(error, AWAY):
        log.warning("A request was refused: the database does not answer (%s).", type(error).__name__)
        answer = _answer(503, "unavailable", "The database does not answer. Try again later.")
        answer["Retry-After"] = "10"
        return answer
    for kind, (status, code) in _FRAMEWORK_ERRORS.items():
        if isinstance(error, kind):
            return _answer(status, code, _sentence(error))
    if isinstance(error, exceptions.APIException):
        return _answer(error.status_code, "invalid_request", _sentence(error))
    log.exception("Unexpected error in %s.", context["view"].__class__.__name__)
    return _answer(500, "internal_error", INTERNAL_ERROR)


def error_answer(status: int, code: str, sentence: str) -> JsonResponse:
    """Return the JSON object of an error that is met outside the API's views."""
    return JsonResponse({"status_code": status, "error": sentence, "code": code}, status=status)


def plain_answer(error: AnonymizerError) -> JsonResponse:
    """Return the answer to an error in a view that is none of the API's."""
    answer = error_answer(error.status, error.code, str(error))
    if error.status == 401:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


def _answer(status: int, code: str, sentence: str) -> Response:
    return Response({"status_code": status, "error": sentence, "code": code}, status=status)


def _sentence(error: Exception) -> str:
    if isinstance(error, exceptions.UnsupportedMediaType):
        return "The request must be multipart/form-data with the file in a part named fileobject."
    if isinstance(error, UnreadablePostError):
        return "The body of the request did not arrive, or too slowly."
    if "header size" in str(error):
        return "The headers of a multipart part are longer than 1024 bytes. Give the file a shorter name."
    return str(getattr(error, "detail", error)) or NO_SUCH_ADDRESS


def not_found(request: Any, exception: Exception) -> JsonResponse:
    """Answer requests to addresses that no view serves; Django's handler404."""
    return JsonResponse({"status_code": 404, "error": NO_SUCH_ADDRESS, "code": "not_found"}, status=404)


def server_error(request: Any) -> JsonResponse:
    """Answer requests that met an unexpected error; Django's handler500."""
    return JsonResponse(
        {
            "status_code": 500,
            "error": INTERNAL_ERROR,
            "code": "internal_error",
        },
        status=500,
    )
