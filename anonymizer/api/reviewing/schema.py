"""The OpenAPI schema of reviews."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from anonymizer.models import RenderStatus
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.options.options import Method
from anonymizer.pipeline.review.edits import MOST_COMMENT, Follow

__all__ = ["CANDIDATES", "REVIEW", "REVIEW_PARAMETERS", "VERSION_PARAMETERS", "VersionObject"]

_PIXEL = {"type": "number", "minimum": -1e6, "maximum": 1e6}
_SECOND = {"type": "number", "minimum": 0, "maximum": 1e6}
_SHAPES: dict[str, Any] = {
    "box": {
        "type": "array", "items": _PIXEL, "minItems": 4, "maxItems": 4,
        "description": "x1, y1, x2, y2 in pixels of the upright image, of which x2 and y2 are larger.",
    },
    "polygon": {
        "type": "array", "minItems": 3, "maxItems": 10_000,
        "items": {"type": "array", "items": _PIXEL, "minItems": 2, "maxItems": 2},
        "description": "The corners: x and y each.",
    },
    "ellipse": {
        "type": "array", "items": _PIXEL, "minItems": 4, "maxItems": 4,
        "description": "x and y of the centre, then the two radii.",
    },
}  # fmt: skip
_CHANGE: dict[str, Any] = {
    "method": {"type": "string", "enum": [each.value for each in Method if each is not Method.DETECT]},
    "kernel_size": {
        "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1000,
        "description": "Strength: a share of the object up to 1, pixels above 1.",
    },
}  # fmt: skip
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    made = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": list(required)} if required else {})


def _reference(more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "array", "maxItems": 10_000,
        "items": _object({"id": _NUMBER, "track_id": _NUMBER, **(more or {})}) | {"minProperties": 1},
    }  # fmt: skip


#: the body of a review
REVIEW = {
    "application/json": _object(
        {
            "add": {
                "type": "array",
                "maxItems": 10_000,
                "description": "Objects to redact besides.",
                "items": _object(
                    {
                        "type": {"type": "string", "enum": [each.value for each in ObjectType]},
                        **_SHAPES, **_CHANGE, "from": _SECOND, "to": _SECOND,
                        "keyframes": {
                            "type": "array", "items": _object({"time": _SECOND, **_SHAPES}, "time"), "minItems": 1,
                            "description": "Videos: shapes of one kind at several times, and linear between.",
                        },
                        "follow": {
                            "type": "string", "enum": [each.value for each in Follow],
                            "description": "Videos: the tracker follows the object from its one key frame.",
                        },
                    },
                    "type",
                ),
            },
            "take": {
                "type": "array", "maxItems": 10_000, "items": _object({"candidate": _NUMBER}, "candidate"),
                "description": "Candidates that are redacted, whatever their scores.",
            },
            "drop": _reference() | {"description": "False detections: they go from the result and its metadata."},
            "visible": _reference() | {"description": "Objects that stay in the metadata and are not redacted."},
            "change": _reference(_CHANGE) | {"description": "Method and strength of single objects."},
            "thresholds": _object(
                {each.value: {"type": "number", "minimum": 0, "maximum": 1} for each in ObjectType}
            ),
            "approve": {"type": "boolean", "description": "Approve the version, or take its approval back."},
            "restore": {
                "type": "integer", "minimum": 1, "maximum": 2**31 - 1,
                "description": "An earlier version that is to be served again.",
            },
            "comment": {"type": "string", "maxLength": MOST_COMMENT},
            "base": {
                "type": "integer", "minimum": 1, "maximum": 2**31 - 1,
                "description": "The version that the ids are of. Another current version is a conflict (409).",
            },
        }
    )
}  # fmt: skip


class VersionObject(serializers.Serializer[Any]):
    """One version of a result."""

    version = serializers.IntegerField()
    base = serializers.IntegerField(allow_null=True, help_text="The version that was reviewed.")
    status = serializers.ChoiceField(choices=RenderStatus.choices)
    error = serializers.CharField(allow_null=True, help_text="Why it could not be rendered.")
    created = serializers.DateTimeField()
    by = serializers.CharField(help_text="client:NAME, admin:NAME, anonymous, or server for the first version.")
    comment = serializers.CharField(allow_blank=True)
    added = serializers.IntegerField()
    taken = serializers.IntegerField()
    dropped = serializers.IntegerField()
    visible = serializers.IntegerField()
    changed = serializers.IntegerField()
    thresholds = serializers.DictField(child=serializers.FloatField())
    detections = serializers.DictField(child=serializers.IntegerField(), help_text="Redacted objects by type.")
    followed = serializers.ListField(
        child=serializers.DictField(),
        help_text="Videos: from when to when each object was followed, why no further, and a warning.",
    )
    approved = serializers.BooleanField()
    served = serializers.BooleanField()


_BOOLEAN = {"type": "string", "enum": ["true", "false", "1", "0", "yes", "no", "on", "off"]}
REVIEW_PARAMETERS = [
    OpenApiParameter(
        "review", _BOOLEAN, OpenApiParameter.QUERY,
        description="true: also a result that waits for an approval; for reviewers (default: false)",
    ),
]  # fmt: skip
VERSION_PARAMETERS = [
    OpenApiParameter(
        "version", {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, OpenApiParameter.QUERY,
        description="an earlier version of the result (default: the one that is served)",
    ),
    *REVIEW_PARAMETERS,
]  # fmt: skip
CANDIDATES = OpenApiResponse(
    {
        "type": "object",
        "properties": {
            "size": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "Images: height and width in pixels.",
            },
            "thresholds": {"type": "object", "additionalProperties": {"type": "number"}},
            "lowest_thresholds": {
                "type": "object",
                "additionalProperties": {"type": "number"},
                "description": "Videos: the lowest thresholds that a review may choose. Nothing fainter is kept.",
            },
            "total": {"type": "integer", "description": "All kept detections; the list has those of the best scores."},
            "candidates": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["thresholds", "total", "candidates"],
    },
    "The candidates, as the metadata lists detections.",
)
