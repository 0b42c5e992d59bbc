"""Answer every error with the JSON object of the contract."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

from django.core.exceptions import (
    BadRequest,
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from anonymizer.pipeline.errors import AnonymizerError, StorageFull
from anonymizer.service.files import is_full

__all__ = [
    "Deleted",
    "ExtraFile",
    "FailedTask",
    "LengthRequired",
    "NoSuchPage",
    "NoSuchRange",
    "NoSuchResult",
    "NotFound",
    "NotReady",
    "TaskFailed",
    "Unavailable",
    "error_answer",
    "error_object",
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


class NoSuchPage(AnonymizerError):
    """The task list has fewer pages."""

    status = 404
    code = "no_such_page"


class NotReady(AnonymizerError):
    """The task is not done yet. Only this conflict is worth asking again."""

    status = 409
    code = "not_ready"
    retry_after = 1


class NoSuchResult(AnonymizerError):
    """The task has no result of this kind, and will never have one."""

    status = 409
    code = "no_such_result"


class FailedTask(AnonymizerError):
    """The task failed, and has no result."""

    status = 409
    code = "task_failed"


class ExtraFile(AnonymizerError):
    """The request has file parts besides the one to anonymise."""

    status = 400
    code = "extra_file"


class LengthRequired(AnonymizerError):
    """The request does not tell where its body ends."""

    status = 411
    code = "length_required"


class Deleted(AnonymizerError):
    """The task's files were deleted."""

    status = 410
    code = "deleted"


class Unavailable(AnonymizerError):
    """The server cannot take this request now; default: because no worker is alive."""

    status = 503
    code = "no_worker"

    def __init__(self, sentence: str, code: str = "no_worker", *, retry_after: int = 10) -> None:
        super().__init__(sentence)
        self.code = code
        self.retry_after = retry_after


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
#: how long a client should wait, in seconds, where the error itself does not tell
_RETRY_AFTER = {503: 10, 507: 60}
#: status and code of errors that Django and Django REST framework raise; the first that fits counts
_FRAMEWORK_ERRORS: dict[type[Exception], tuple[int, str]] = {
    exceptions.ParseError: (400, "invalid_request"),
    exceptions.UnsupportedMediaType: (400, "missing_file"),
    exceptions.MethodNotAllowed: (405, "method_not_allowed"),
    exceptions.NotAcceptable: (406, "not_acceptable"),
    exceptions.NotFound: (404, "not_found"),
    exceptions.NotAuthenticated: (401, "not_authenticated"),
    exceptions.AuthenticationFailed: (401, "not_authenticated"),
    exceptions.PermissionDenied: (403, "forbidden"),
    exceptions.Throttled: (429, "too_many_requests"),
    Http404: (404, "not_found"),
    PermissionDenied: (403, "forbidden"),
    RequestDataTooBig: (413, "too_large"),
    DisallowedHost: (400, "invalid_host"),
    MultiPartParserError: (400, "invalid_request"),
    UnreadablePostError: (408, "timeout"),
    SuspiciousOperation: (400, "invalid_request"),
    BadRequest: (400, "invalid_request"),
    OperationalError: (503, "database_unavailable"),
    InterfaceError: (503, "database_unavailable"),
}
#: sentences for errors whose own words are not for clients
_SENTENCES: dict[type[Exception], str] = {
    exceptions.UnsupportedMediaType: (
        "The request must be multipart/form-data with the file in a part named fileobject."
    ),
    DisallowedHost: "The header Host is not a name that this server answers to.",
    UnreadablePostError: "The body of the request did not arrive, or too slowly.",
    RequestDataTooBig: "The form fields of the request have more bytes than this server accepts.",
    TooManyFieldsSent: "The request has more form fields than this server accepts.",
    TooManyFilesSent: "The request has more file parts than this server accepts.",
    OperationalError: "The database does not answer at the moment. Try again later.",
    InterfaceError: "The database does not answer at the moment. Try again later.",
}
#: codes of errors that some other part of the server answered
_CODES = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "too_large",
    414: "uri_too_long",
    429: "too_many_requests",
    431: "headers_too_large",
    501: "not_implemented",
    503: "unavailable",
    507: "no_room",
}


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Turn an error into a response; Django REST framework calls this."""
    if request := context.get("request"):
        # an error is JSON, also of a view whose answers are of another type
        request.accepted_renderer, request.accepted_media_type = JSONRenderer(), JSONRenderer.media_type
    if is_full(error):
        error = StorageFull("There is no room on the disk of this server. Nothing of the request was kept.")
    if isinstance(error, AnonymizerError):
        answer = _answer(error.status, error.code, str(error))
        if isinstance(error, TaskFailed):
            answer.data["task"] = error.task_id
        if error.status == 401:
            answer["WWW-Authenticate"] = "Bearer"
        if isinstance(error, NoSuchRange):
            answer["Content-Range"] = f"bytes */{error.size}"
        retry_after = getattr(error, "retry_after", _RETRY_AFTER.get(error.status))
    elif known := next((found for kind, found in _FRAMEWORK_ERRORS.items() if isinstance(error, kind)), None):
        answer = _answer(*known, _sentence(error))
        retry_after = _RETRY_AFTER.get(known[0])
        if isinstance(error, DatabaseError | InterfaceError):
            log.warning("The database did not answer a request (%s).", type(error).__name__)
    elif isinstance(error, exceptions.APIException):
        answer = _answer(error.status_code, "invalid_request", _sentence(error))
        retry_after = None
    else:
        log.exception("Unexpected error in %s.", context["view"].__class__.__name__)
        return _answer(500, "internal_error", INTERNAL_ERROR)
    # as Django REST framework's own handler does
    if challenge := getattr(error, "auth_header", None):
        answer["WWW-Authenticate"] = challenge
    retry_after = getattr(error, "wait", None) or retry_after
    if retry_after is not None:
        answer["Retry-After"] = str(math.ceil(retry_after))
    return answer


def error_object(status: int, sentence: str, code: str = "") -> dict[str, Any]:
    """Return the JSON object of an error.

    Args:
        status: the HTTP status.
        sentence: one sentence for people.
        code: the kind of error, for programs. Default: the usual one of the status.
    """
    return {"status_code": status, "error": sentence, "code": code or _CODES.get(status, "error")}


def error_answer(status: int, code: str, sentence: str) -> JsonResponse:
    """Return the JSON object of an error that is met outside the API's views."""
    return JsonResponse(error_object(status, sentence, code), status=status)


def plain_answer(error: AnonymizerError) -> JsonResponse:
    """Return the answer to an error in a view that is none of the API's."""
    answer = error_answer(error.status, error.code, str(error))
    if error.status == 401:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


def _answer(status: int, code: str, sentence: str) -> Response:
    return Response(error_object(status, sentence, code), status=status)


def _sentence(error: Exception) -> str:
    for kind, sentence in _SENTENCES.items():
        if isinstance(error, kind):
            return sentence
    if "header size" in str(error):
        return "The headers of a multipart part are longer than 1024 bytes. Give the file a shorter name."
    return str(getattr(error, "detail", error)) or NO_SUCH_ADDRESS


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer requests that Django refuses, such as those with an unknown Host; Django's handler400."""
    status, code = next(
        (found for kind, found in _FRAMEWORK_ERRORS.items() if isinstance(exception, kind)), (400, "invalid_request")
    )
    return JsonResponse(error_object(status, _sentence(exception), code), status=status)


def permission_denied(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer requests that the caller has no permission for; Django's handler403."""
    return JsonResponse(error_object(403, str(exception) or "You have no permission for this."), status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> JsonResponse:
    """Answer forms that were sent without their token; the setting `CSRF_FAILURE_VIEW`."""
    sentence = f"The form was refused, because its origin could not be verified ({reason.rstrip('.')})."
    return JsonResponse(error_object(403, sentence, "csrf_failed"), status=403)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """Answer requests to addresses that no view serves; Django's handler404."""
    return JsonResponse(error_object(404, NO_SUCH_ADDRESS), status=404)


def server_error(request: HttpRequest) -> JsonResponse:
    """Answer requests that met an unexpected error; Django's handler500."""
    # Django calls this while it handles the error
    error = sys.exc_info()[1]
    if isinstance(error, Exception) and is_full(error):
        return JsonResponse(error_object(507, "There is no room on the disk of this server."), status=507)
    if isinstance(error, OperationalError | InterfaceError):
        sentence = _SENTENCES[OperationalError]
        answer = JsonResponse(error_object(503, sentence, "database_unavailable"), status=503)
        answer["Retry-After"] = str(_RETRY_AFTER[503])
        return answer
    return JsonResponse(error_object(500, INTERNAL_ERROR, "internal_error"), status=500)
