"""Turn the query string and the form fields of a request into typed values. Both are read as one list of names.

The parameters themselves are the fields of `Options` (`pipeline/options/options.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from django.conf import settings
from django.http import QueryDict
from rest_framework.request import Request

from anonymizer.api.delivery import parameters as delivery_parameters
from anonymizer.models import Kind, Status
from anonymizer.pipeline.detections import ObjectType
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.pipeline.options.converters import boolean
from anonymizer.pipeline.options.options import Options, parameters
from anonymizer.service import profiles
from anonymizer.service.clients import idempotency
from anonymizer.service.submit import Webhook

__all__ = [
    "UploadRequest",
    "endpoint",
    "flag",
    "idempotency_key",
    "is_async",
    "list_filters",
    "mask_scale",
    "read",
    "repeatable",
    "version",
]

#: parameters that are no options of the pipeline
DELIVERY = ("webhook", "web_auth_header_name", "web_auth_header_value", "name", "ttl", "review")
#: of whose values an error shows nothing
SECRETS = ("web_auth_header_value",)


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The validated parameters of an upload."""

    options: Options
    object_types: tuple[ObjectType, ...]
    webhook: Webhook
    name: str
    ttl: timedelta | None
    review: bool
    warnings: list[str]


def read(request: Request) -> UploadRequest:
    """Validate the parameters of an upload.

    Raises:
        InvalidParameter: a value is not allowed.
    """
    params = _flat(request.query_params, cast("QueryDict", request.data))
    given = {key: params.pop(key, "").strip() for key in DELIVERY}
    options, object_types, warnings = profiles.options_from(params)
    return UploadRequest(
        options=options,
        object_types=object_types,
        webhook=delivery_parameters.webhook(*(given[key] for key in DELIVERY[:3])),
        name=given["name"],
        ttl=delivery_parameters.ttl(given["ttl"]),
        review=delivery_parameters.review(given["review"]),
        warnings=warnings,
    )


def is_async(request: Request) -> bool:
    """Return whether the caller wants a response at once.

    Raises:
        InvalidParameter: the header `x-is-async` is not a boolean.
    """
    value = request.headers.get("x-is-async", "")
    return bool(value.strip()) and boolean("x-is-async", value)


def idempotency_key(request: Request) -> str | None:
    """Return the header `Idempotency-Key`, or None if there is none.

    Raises:
        InvalidParameter: it is not a text of 1 to 255 printable ASCII characters.
    """
    value = request.headers.get("Idempotency-Key", "").strip()
    if len(value) > 255 or not value.isascii() or not value.isprintable():
        raise InvalidParameter("Idempotency-Key", value, "at most 255 printable ASCII characters")
    return value or None


def repeatable(request: Request, key: str, file_name: str) -> idempotency.Key:
    """Return the key of an upload, with all parameters that must be the same when it is repeated."""
    given = _flat(request.query_params, cast("QueryDict", request.data))
    same = sorted((name.replace("-", "_"), value) for name, value in given.items())
    return idempotency.Key(key, json.dumps([file_name, same]))


def endpoint(request: Request) -> str:
    """Return the beginning of all URLs: the setting `API_ENDPOINT`, or the host of the request."""
    return settings.API_ENDPOINT or request.build_absolute_uri("/").rstrip("/")


def mask_scale(request: Request) -> int | None:
    """Return the size of a mask that a download asks for, in percent, or None if it does not say.

    Raises:
        InvalidParameter: the value is not a number from 1 to 100, or two different values are given.
    """
    given = {name.replace("-", "_"): value for name, value in _flat(request.query_params).items()}
    value = given.get("mask_scale", "")
    return Options.from_params({"mask-scale": value})[0].mask_scale if value.strip() else None


def version(request: Request) -> int | None:
    """Return the version of a result that a download asks for, or None for the one that is served.

    Raises:
        InvalidParameter: it is no whole number from 1 up, or two different values are given.
    """
    value = _flat(request.query_params, names=("version",)).get("version", "").strip()
    if value and (not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or int(value) < 1):
        raise InvalidParameter("version", value, "the number of a version, from 1 up")
    return int(value) if value else None


def flag(request: Request, name: str) -> bool:
    """Return a parameter that is true or false; false if it is not given.

    Raises:
        InvalidParameter: the value is neither, or two different values are given.
    """
    value = _flat(request.query_params, names=(name,)).get(name, "").strip()
    return bool(value) and boolean(name, value)


def list_filters(request: Request) -> dict[str, list[str]]:
    """Return the filters `status` and `kind` of a task list, by the names of Django's look-ups.

    Raises:
        InvalidParameter: there is no such status or kind, or two different values are given.
    """
    filters = {}
    given = _flat(request.query_params, names=("status", "kind"))
    for name, choices in (("status", Status.values), ("kind", Kind.values)):
        text = given.get(name, "").strip().lower()
        values = [value.strip() for value in text.split(",")] if text else []
        for value in values:
            if value not in choices:
                raise InvalidParameter(name, value, f"one or more of {', '.join(choices)}, separated by commas")
        if values:
            filters[f"{name}__in"] = sorted(set(values))
    return filters


def _flat(*sources: QueryDict, names: Iterable[str] = ()) -> dict[str, str]:
    """The text fields by name. `-` becomes `_` in the names of `DELIVERY`; other names stay as they were written.

    Args:
        sources: the query string, the form fields, or both.
        names: what must not be given twice with different values. Default: every parameter of an upload.

    Raises:
        InvalidParameter: a name is given twice, in either spelling, with different values.
    """
    known = {name.replace("-", "_") for name in names or (*parameters(), *Options.DEPRECATED, *DELIVERY)}
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    # without a body, Django REST framework gives a plain dictionary, which is empty
    lists = (pair for source in sources if isinstance(source, QueryDict) for pair in source.lists())
    for name, value in ((name, value) for name, values in lists for value in values):
        # files are no text, and an empty value counts as not given
        if not isinstance(value, str) or (not value.strip() and name in found):
            continue
        plain = name.replace("-", "_")
        if plain in known and value.strip() and first.setdefault(plain, value) != value:
            shown = "(not shown)" if plain in SECRETS else value
            raise InvalidParameter(plain.replace("_", "-"), shown, "given once only, or always with the same value")
        found[plain if plain in DELIVERY else name] = value
    return found
