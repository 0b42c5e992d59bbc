"""The OpenAPI side of the views: parameters from the table that validates them, and the contract's objects."""

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
    "UPLOAD_PARAMETERS",
    "Deleted",
    "TaskObject",
    "Upload",
    "error_answers",
]


class ErrorObject(serializers.Serializer[Any]):
    status_code = serializers.IntegerField()
    error = serializers.CharField(help_text="One sentence that names the parameter, the value and what is allowed.")
    code = serializers.CharField()


class VideoObject(serializers.Serializer[Any]):
    """How far a video is, and what became of it."""

    frames = serializers.IntegerField(help_text="done, of all video tracks together")
    total = serializers.IntegerField(allow_null=True)
    frames_per_second = serializers.FloatField(help_text="of the work")
    seconds_left = serializers.FloatField(allow_null=True)
    frames_copied = serializers.IntegerField(
        allow_null=True, help_text="once it is done: frames in whose stretch nothing was redacted, copied as they were"
    )


class TaskObject(serializers.Serializer[Any]):
    """A task, as every answer and webhook has it."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Status.choices)
    kind = serializers.ChoiceField(choices=Kind.choices)
    name = serializers.CharField()
    progress = serializers.FloatField()
    video = VideoObject(allow_null=True, help_text="null for a picture, and before the work begins")
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)
    duration = serializers.FloatField(allow_null=True)
    method = serializers.CharField()
    object_types = serializers.ListField(child=serializers.CharField())
    detections = serializers.DictField(child=serializers.IntegerField())
    coverage = serializers.DictField(child=serializers.IntegerField())
    anonymised_url = serializers.URLField(allow_null=True)
    binary_mask_url = serializers.URLField(allow_null=True)
    instance_mask_url = serializers.URLField(allow_null=True)
    metadata_url = serializers.URLField(allow_null=True)
    task_url = serializers.URLField()
    failure_cause = serializers.CharField(allow_null=True)
    error = serializers.CharField(allow_null=True)
    warnings = serializers.ListField(child=serializers.CharField())
    webhook_status = serializers.ChoiceField(choices=WebhookStatus.choices)
    models = serializers.ListField(child=serializers.CharField())
    options = serializers.DictField()
    profile = serializers.CharField(allow_null=True, help_text="the threshold profile that was used")


class Upload(serializers.Serializer[Any]):
    fileobject = serializers.FileField(help_text="The picture or video. The part may also be named file.")


Deleted = inline_serializer("Deleted", {"deleted": serializers.IntegerField()})
FILE = {
    200: OpenApiResponse(OpenApiTypes.BINARY, "The file."),
    206: OpenApiResponse(OpenApiTypes.BINARY, "The part of it that was asked for."),
}
PNG = {(200, "image/png"): OpenApiTypes.BINARY}
METADATA = OpenApiResponse(OpenApiTypes.OBJECT, "The metadata.")
ERRORS = {
    400: "bad parameter or no file part",
    404: "unknown id",
    409: "not ready (Retry-After), or a result that the method does not make",
    410: "deleted",
    413: "too large: bytes, pixels or seconds",
    415: "not an image or video that is supported",
    416: "there are no such bytes",
    422: "the file is broken",
    503: "no worker, or a model is missing (Retry-After)",
}


def error_answers(*statuses: int) -> dict[int, OpenApiResponse]:
    """The error object, for these statuses."""
    return {each: OpenApiResponse(ErrorObject, ERRORS[each]) for each in statuses}


def _query(name: str, text: str) -> OpenApiParameter:
    return OpenApiParameter(name, OpenApiTypes.STR, OpenApiParameter.QUERY, description=text)


UPLOAD_PARAMETERS = [
    *(_query(name, each.help) for name, each in parameters().items()),
    _query("webhook", "address that is POSTed to when the task ends"),
    _query("web-auth-header-name", "a header to send with it"),
    _query("web-auth-header-value", "its value"),
    _query("name", "shown in lists and metadata; the file's name without"),
    OpenApiParameter(
        "x-is-async", OpenApiTypes.STR, OpenApiParameter.HEADER, description="true: answer at once, process later"
    ),
]
RANGE_PARAMETERS = [
    OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="bytes=first-last, one range"),
    OpenApiParameter("If-Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="ETag of the earlier answer"),
]
MASK_PARAMETERS = [
    OpenApiParameter("mask-scale", OpenApiTypes.INT, OpenApiParameter.QUERY, description="size in percent, 1..100")
]
LIST_PARAMETERS = [
    OpenApiParameter("status", OpenApiTypes.STR, OpenApiParameter.QUERY, enum=Status.values),
    OpenApiParameter("kind", OpenApiTypes.STR, OpenApiParameter.QUERY, enum=Kind.values),
    OpenApiParameter("page", OpenApiTypes.INT, OpenApiParameter.QUERY),
    OpenApiParameter("page_size", OpenApiTypes.INT, OpenApiParameter.QUERY, description="1..1000, 100 without"),
]
