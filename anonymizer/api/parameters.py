"""What a request asks for: the query string (and form fields, which it overrides) as typed values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from django.conf import settings
from django.http import QueryDict
from rest_framework.request import Request

from anonymizer.models import Kind, Status
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import boolean
from anonymizer.pipeline.options.options import Options
from anonymizer.service import profiles
from anonymizer.service.submit import Webhook

__all__ = ["Asked", "endpoint", "is_async", "list_filters", "mask_scale", "read"]

#: of the request, not of the picture
DELIVERY = ("webhook", "web_auth_header_name", "web_auth_header_value", "name")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One upload's wishes, validated."""

    options: Options
    object_types: tuple[ObjectType, ...]
    webhook: Webhook
    name: str
    warnings: list[str]


def read(request: Request) -> Asked:
    """Validate all that an upload asks for.

    Raises:
        InvalidParameter: a value is not allowed.
    """
    params = _flat(cast("QueryDict", request.data)) | _flat(request.query_params)
    delivery = {key: params.pop(key, "").strip() for key in DELIVERY}
    options, object_types, warnings = profiles.options_from(params)
    return Asked(
        options=options,
        object_types=object_types,
        webhook=_webhook(delivery),
        name=delivery["name"],
        warnings=warnings,
    )


def is_async(request: Request) -> bool:
    """Whether the caller wants an answer at once.

    Raises:
        InvalidParameter: the header is neither true nor false.
    """
    value = request.headers.get("x-is-async", "")
    return bool(value.strip()) and boolean("x-is-async", value)


def endpoint(request: Request) -> str:
    """What addresses begin with: the server's setting, or the host that was asked."""
    return settings.API_ENDPOINT or request.build_absolute_uri("/").rstrip("/")


def mask_scale(request: Request) -> int | None:
    """The size of a mask in percent that a download asks for; None where it asks for none."""
    value = request.query_params.get("mask-scale") or request.query_params.get("mask_scale")
    return Options(mask_scale=value).mask_scale if value else None  # type: ignore[arg-type]


def list_filters(request: Request) -> dict[str, str]:
    """`status` and `kind` of a task list.

    Raises:
        InvalidParameter: no such status or kind.
    """
    filters = {}
    for name, choices in (("status", Status.values), ("kind", Kind.values)):
        value = request.query_params.get(name, "").strip().lower()
        if value and value not in choices:
            raise InvalidParameter(name, value, f"one of {', '.join(choices)}")
        if value:
            filters[name] = value
    return filters


def _flat(values: QueryDict) -> dict[str, str]:
    """Text fields by name with `_`; an unknown name stays as it was written, for the warning."""
    return {
        name if name.replace("-", "_") not in DELIVERY else name.replace("-", "_"): value
        for name, value in values.items()
        if isinstance(value, str)
    }


def _webhook(delivery: dict[str, str]) -> Webhook:
    url, header, value = (delivery[key] for key in DELIVERY[:3])
    if url:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= 2000
        except ValueError:
            valid = False
        if not valid:
            raise InvalidParameter("webhook", url, "an http or https address of at most 2000 characters")
    if header and not _TOKEN.fullmatch(header):
        raise InvalidParameter("web-auth-header-name", header, "the name of an HTTP header")
    if len(value) > 2000 or not value.isprintable() or not value.isascii():
        raise InvalidParameter("web-auth-header-value", "(not shown)", "at most 2000 printable ASCII characters")
    return Webhook(url, header, value)
