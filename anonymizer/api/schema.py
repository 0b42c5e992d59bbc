"""The OpenAPI schema of the views: parameters from the table that validates them, and the objects of the contract."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from anonymizer.models import Kind, Status, WebhookStatus
from anonymizer.pipeline.options.options import parameters

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
    "TaskObject",
    "Upload",
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


class Upload(serializers.Serializer[Any]):
    """The body of an upload."""

    fileobject = serializers.FileField(help_text="The image or video. The part may also be named file.")


Deleted = inline_serializer("Deleted", {"deleted": serializers.IntegerField()})
FILE = {
    200: OpenApiResponse(OpenApiTypes.BINARY, "The file."),
    206: OpenApiResponse(OpenApiTypes.BINARY, "The requested part of the file."),
}
PNG = {(200, "image/png"): OpenApiTypes.BINARY}
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
METADATA = OpenApiResponse(OpenApiTypes.OBJECT, "The metadata.")
ERRORS = {
    400: "A parameter is not valid, or the request has no file.",
    401: "The request has no token that is valid, but this server has tokens.",
    403: "The client may not do this, or the request comes from a page of another site.",
    404: "There is no task with this id, or it is the task of another client.",
    409: (
        "The task is not done yet (with the header Retry-After), it has no such result, or the Idempotency-Key was "
        "used for other bytes."
    ),
    410: "The task was deleted.",
    413: "The file has too many bytes or pixels, or the video is too long.",
    415: "The file is not an image or a video of a supported kind.",
    416: "The requested range begins after the end of the file.",
    422: "The file is broken.",
    429: "The client sends too many requests, or used its quota of today (with the header Retry-After).",
    503: "No worker is alive, the queue is full, or a model is missing (with the header Retry-After).",
    507: "The disk has too little room (with the header Retry-After).",
}


def error_answers(*statuses: int) -> dict[int, OpenApiResponse]:
    """Return the responses of an operation for these error statuses, and for those of every operation."""
    every = (401, 403, 429)
    return {status: OpenApiResponse(ErrorObject, ERRORS[status]) for status in sorted({*statuses, *every})}


def _query(name: str, text: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.QUERY, description=text)


UPLOAD_PARAMETERS = [
    *(_query(name, parameter.help) for name, parameter in parameters().items()),
    _query("webhook", "URL that gets the task by POST when it ends"),
    _query("web-auth-header-name", "name of a header to send to the webhook"),
    _query("web-auth-header-value", "value of this header"),
    _query("ttl", "seconds after which the files are deleted (default: a setting of the server)"),
    _query("name", "name in lists and metadata (default: the name of the file)"),
    OpenApiParameter(
        "x-is-async",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="if true, respond at once and process the file later (default: false)",
    ),
    OpenApiParameter(
        "Idempotency-Key",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="the same key, bytes and parameters within 24 hours are the same task (at most 255 characters)",
    ),
]
RANGE_PARAMETERS = [
    OpenApiParameter(
        "Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="one range of bytes: bytes=first-last"
    ),
    OpenApiParameter(
        "If-Range",
        OpenApiTypes.STR,
        OpenApiParameter.HEADER,
        description="ETag of an earlier response; the range is sent only if the file is still the same",
    ),
]
MASK_PARAMETERS = [
    OpenApiParameter(
        "mask-scale",
        OpenApiTypes.INT,
        OpenApiParameter.QUERY,
        description="size in percent, 1..100 (default: mask-scale of the upload)",
    )
]
LIST_PARAMETERS = [
    OpenApiParameter(
        "status",
        OpenApiTypes.STR,
        OpenApiParameter.QUERY,
        enum=Status.values,
        description="list only tasks in this state",
    ),
    OpenApiParameter(
        "kind", OpenApiTypes.STR, OpenApiParameter.QUERY, enum=Kind.values, description="list only tasks of this kind"
    ),
    OpenApiParameter("page", OpenApiTypes.INT, OpenApiParameter.QUERY, description="number of the page (default: 1)"),
    OpenApiParameter(
        "page_size", OpenApiTypes.INT, OpenApiParameter.QUERY, description="tasks on a page, 1..1000 (default: 100)"
    ),
]
