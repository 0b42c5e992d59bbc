"""The OpenAPI schema of the views: parameters from the table that validates them, and the objects of the contract."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from anonymizer.api.delivery.parameters import REQUIRED, most_seconds
from anonymizer.api.pagination import MOST_PAGES, TaskPagination
from anonymizer.models import Kind, Review, Status, WebhookStatus
from anonymizer.pipeline.options.converters import boolean, json_schema, share
from anonymizer.pipeline.options.options import Options, parameters

__all__ = [
    "ERRORS",
    "FILE",
    "LIST_PARAMETERS",
    "MASK_PARAMETERS",
    "METADATA",
    "PNG",
    "RANGE_PARAMETERS",
    "RECEIPT",
    "UPLOAD_PARAMETERS",
    "Deleted",
    "TaskList",
    "TaskObject",
    "Upload",
    "complete",
    "error_answers",
]


class ErrorObject(serializers.Serializer[Any]):
    """Every error is answered with this object."""

    status_code = serializers.IntegerField(help_text="The HTTP status.")
    error = serializers.CharField(help_text="One sentence that names the parameter, the value and what is allowed.")
    code = serializers.CharField(help_text="The kind of error, for programs.")


class VideoObject(serializers.Serializer[Any]):
    """The progress of a video, and the outcome when it is done."""

    frames = serializers.IntegerField(help_text="Frames that are done, of all video tracks together.")
    total = serializers.IntegerField(allow_null=True, help_text="All frames; null if the number is not known.")
    frames_per_second = serializers.FloatField(help_text="The speed of processing.")
    seconds_left = serializers.FloatField(allow_null=True, help_text="Estimated time that is left.")
    frames_copied = serializers.IntegerField(
        allow_null=True,
        help_text="Frames that were copied because nothing was redacted near them. Null until the video is done.",
    )


class TaskObject(serializers.Serializer[Any]):
    """The task of one uploaded file. Every response and every webhook has this object."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    kind = serializers.ChoiceField(choices=Kind.choices)
    name = serializers.CharField()
    progress = serializers.FloatField(help_text="From 0 to 1.")
    video = VideoObject(allow_null=True, help_text="Null for an image, and before processing begins.")
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)
    expires = serializers.DateTimeField(allow_null=True, help_text="When the files will be deleted. Null: never.")
    duration = serializers.FloatField(allow_null=True, help_text="Seconds of detection and redaction.")
    method = serializers.CharField()
    object_types = serializers.ListField(child=serializers.CharField(), help_text="The types that are detected.")
    detections = serializers.DictField(
        child=serializers.IntegerField(), help_text="Number of redacted objects of each type."
    )
    coverage = serializers.DictField(
        child=serializers.IntegerField(), help_text="Numbers of detections that a person should review."
    )
    anonymised_url = serializers.URLField(allow_null=True)
    binary_mask_url = serializers.URLField(allow_null=True)
    instance_mask_url = serializers.URLField(allow_null=True)
    metadata_url = serializers.URLField(allow_null=True)
    receipt_url = serializers.URLField(allow_null=True, help_text="What was made of which file, by which models.")
    task_url = serializers.URLField()
    failure_cause = serializers.CharField(allow_null=True, help_text="The kind of error, if the task failed.")
    error = serializers.CharField(allow_null=True, help_text="One sentence about the error, if the task failed.")
    warnings = serializers.ListField(child=serializers.CharField(), help_text="One sentence for each warning.")
    webhook_status = serializers.ChoiceField(choices=WebhookStatus.choices)
    models = serializers.ListField(child=serializers.CharField(), help_text="The models that made the result.")
    options = serializers.DictField(help_text="The options that differ from the defaults.")
    profile = serializers.CharField(allow_null=True, help_text="The name of the threshold profile.")
    version = serializers.IntegerField(help_text="The version of the result that is served.")
    review = serializers.ChoiceField(
        choices=[Review.REQUIRED.value, Review.APPROVED.value],
        allow_null=True,
        help_text="Whether a person has to approve the result, or has done so.",
    )
    review_status = serializers.CharField(
        allow_null=True, help_text="rendering, or why the last review could not be rendered; null: nothing is open."
    )
    versions_url = serializers.URLField(allow_null=True, help_text="All versions of the result.")


#: the body of an upload
Upload = {
    "type": "object",
    "properties": {
        "fileobject": {
            "type": "string",
            "format": "binary",
            "description": "The image or video. The part may also be named file.",
        }
    },
    "required": ["fileobject"],
}
Deleted = inline_serializer("Deleted", {"deleted": serializers.IntegerField()})


class TaskList(serializers.Serializer[Any]):
    """One page of the list of tasks."""

    count = serializers.IntegerField(help_text="All tasks that the filters select.")
    next = serializers.URLField(allow_null=True, help_text="The next page.")
    previous = serializers.URLField(allow_null=True, help_text="The page before.")
    results = TaskObject(many=True)


FILE = {
    (200, "image/*", "video/*", "application/json"): OpenApiTypes.BINARY,
    (206, "image/*", "video/*", "application/json"): OpenApiTypes.BINARY,
}
PNG = {(200, "image/png"): OpenApiTypes.BINARY, (206, "image/png"): OpenApiTypes.BINARY}
METADATA = {
    (200, "application/json"): OpenApiResponse(
        {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]},
        "The metadata; for a video an object for each frame.",
    ),
    (206, "application/json"): OpenApiResponse(OpenApiTypes.BINARY, "The requested part of the file."),
}
RECEIPT = OpenApiResponse(
    inline_serializer(
        "Receipt",
        {
            "receipt": serializers.DictField(help_text="Checksums, models, options, counts and times."),
            "signature": serializers.DictField(
                allow_null=True, help_text="Ed25519 over the canonical JSON of `receipt`; null if it is not signed."
            ),
        },
    ),
    "The receipt.",
)
ERRORS = {
    400: "A parameter or a header is not valid, or the request does not have exactly one file.",
    401: "The request has no token that is valid, but this server has tokens.",
    403: "The client may not do this, or the request comes from a page of another site.",
    404: "There is no task with this id, or it is the task of another client; or there is no such page.",
    409: (
        "The task has no such result. The code is not_ready (ask again after the header Retry-After), no_such_result, "
        "task_failed (do not ask again), needs_review (ask again when a person has approved it), no_original, "
        "version_conflict or key_reused."
    ),
    408: "The body of the request did not arrive, or too slowly.",
    410: "The task was deleted.",
    411: "The request does not tell the length of its body.",
    413: "The file has too many bytes or pixels, or the video is too long.",
    415: "The file is not an image or a video of a supported kind.",
    416: "The requested range begins after the end of the file.",
    422: "The file is broken, or it was not fully analysed and strict is set.",
    429: "The client sent too many requests or files (with the header Retry-After).",
    500: "The file could not be processed.",
    503: "No worker is alive, the queue is full, or a model is missing (with the header Retry-After).",
    507: "The disk has no room (with the header Retry-After).",
}
#: errors that any address may answer with
COMMON = (400, 401, 403, 429, 503)


def error_answers(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the responses of an operation for these error statuses, and for those that any operation has."""
    return {status: OpenApiResponse(ErrorObject, ERRORS[status]) for status in sorted({*COMMON, *statuses})}


def _query(name: str, text: str, schema: dict[str, Any] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, schema or {"type": "string"}, OpenApiParameter.QUERY, description=text)


def _header(name: str, text: str, schema: dict[str, Any]) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.HEADER, description=text)


_BOOLEAN = json_schema(boolean)
#: for headers, of which one that is empty counts as not given
_HEADER_BOOLEAN = _BOOLEAN | {"enum": [*cast("list[str]", _BOOLEAN["enum"]), ""]}
#: printable ASCII
_PRINTABLE = "^[ -~]*$"
UPLOAD_PARAMETERS = [
    *(_query(name, parameter.help, json_schema(parameter.convert)) for name, parameter in parameters().items()),
    *(
        OpenApiParameter(
            name.replace("_", "-"),
            json_schema(share),
            OpenApiParameter.QUERY,
            deprecated=True,
            description=f"sets {' and '.join(names).replace('_', '-')} where they are not given",
        )
        for name, names in Options.DEPRECATED.items()
    ),
    _query(
        "webhook", "URL that gets the task by POST when it ends", {"type": "string", "format": "uri", "maxLength": 2000}
    ),
    _query(
        "web-auth-header-name",
        "name of a header to send to the webhook",
        {"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$"},
    ),
    _query("web-auth-header-value", "value of this header", {"type": "string", "pattern": "^[ -~]{0,2000}$"}),
    _query(
        "ttl",
        "seconds after which the files are deleted (default: a setting of the server)",
        {"type": "integer", "minimum": 1, "maximum": most_seconds()},
    ),
    _query(
        "review",
        "required: the result is served only when a person has approved it (default: a setting of the server)",
        {"type": "string", "enum": [REQUIRED, ""]},
    ),
    _query("name", "name in lists and metadata (default: the name of the file)"),
    _header("x-is-async", "if true, respond at once and process the file later (default: false)", _HEADER_BOOLEAN),
    _header(
        "Idempotency-Key",
        "the same key and the same file within 24 hours give the same task again; blanks around it are ignored",
        {"type": "string", "pattern": _PRINTABLE, "maxLength": 255},
    ),
]
RANGE_PARAMETERS = [
    _header("Range", "one range of bytes: bytes=first-last", {"type": "string"}),
    _header(
        "If-Range",
        "ETag of an earlier response; the range is sent only if the file is still the same",
        {"type": "string"},
    ),
]
MASK_PARAMETERS = [
    _query(
        "mask-scale",
        "size in percent, 1..100 (default: mask-scale of the upload)",
        {"type": "integer", "minimum": 1, "maximum": 100},
    ),
    *RANGE_PARAMETERS,
]


def _several(values: list[str]) -> dict[str, Any]:
    """One or more of some words, separated by commas; or nothing, which counts as not given."""
    word = f"({'|'.join(values)})"
    return {"type": "string", "pattern": f"^({word}(,{word})*)?$"}


LIST_PARAMETERS = [
    _query("status", "list only tasks in this state, or in one of several: done,failed", _several(Status.values)),
    _query("kind", "list only tasks of this kind", _several(Kind.values)),
    _query("page", "number of the page (default: 1)", {"type": "integer", "minimum": 1, "maximum": MOST_PAGES}),
    _query(
        "page_size",
        "tasks on a page, 1..1000 (default: 100)",
        {"type": "integer", "minimum": 1, "maximum": TaskPagination.max_page_size},
    ),
]


def complete(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Say that an upload needs a body, and that an empty value in a query string counts as not given.

    drf-spectacular calls this, because it has no parameter for either.

    Args:
        result: the OpenAPI schema.

    Returns:
        The same schema.
    """
    for operations in result["paths"].values():
        for operation in operations.values():
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    parameter["allowEmptyValue"] = True
    return result
