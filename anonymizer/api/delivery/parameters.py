"""The parameters of webhooks, `ttl` and `review`."""

from __future__ import annotations

import re
from datetime import timedelta

from django.conf import settings

from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service.submit import Webhook
from anonymizer.service.webhooks import targets
from anonymizer.service.webhooks.sender import serves_loopback_only

__all__ = ["REQUIRED", "most_seconds", "review", "ttl", "webhook"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
#: the value of the parameter `review`
REQUIRED = "required"
#: ten years, which dates of every database can hold
MOST_SECONDS = 10 * 365 * 86400


def webhook(url: str, header: str, value: str) -> Webhook:
    """Return the webhook of an upload. A name in its address is looked up only when the webhook is sent.

    Raises:
        InvalidParameter: the address is not allowed, or the header is not.
    """
    if url:
        _check_url(url)
    if header and (not _TOKEN.fullmatch(header) or targets.is_own_header(header)):
        allowed = "the name of an HTTP header that is not for the connection, the content or X-Anonymizer-*"
        raise InvalidParameter("web-auth-header-name", header, allowed)
    targets.check_header_value(value)
    return Webhook(url, header, value)


def ttl(text: str) -> timedelta | None:
    """Return the time after which the files of an upload are deleted, or None if the upload does not say.

    Raises:
        InvalidParameter: it is no number of seconds that this server allows.
    """
    if not text:
        return None
    most = most_seconds()
    if not re.fullmatch(r"[0-9]{1,12}", text) or not 1 <= int(text) <= most:
        raise InvalidParameter("ttl", text, f"a whole number of seconds from 1 to {most}")
    return timedelta(seconds=int(text))


def review(text: str) -> bool:
    """Return whether the result of an upload is served only when a person has approved it.

    Raises:
        InvalidParameter: it is neither empty nor `required`.
    """
    if text.lower() not in ("", REQUIRED):
        raise InvalidParameter("review", text, f"{REQUIRED}, or not given")
    return bool(text) or bool(settings.REVIEW)


def most_seconds() -> int:
    """Return the largest `ttl` that this server allows."""
    limit = settings.MAX_TTL
    return MOST_SECONDS if limit is None else min(MOST_SECONDS, int(limit.total_seconds()))


def _check_url(url: str) -> None:
    try:
        receiver = targets.parse(url)
        if receiver.address is not None or receiver.host.rstrip(".") == "localhost":
            # a name is checked with its addresses, when the webhook is sent
            answers = ["127.0.0.1" if receiver.address is None else receiver.host]
            targets.allowed_addresses(
                receiver, answers, allowed=settings.WEBHOOK_NETWORKS, loopback=serves_loopback_only()
            )
    except targets.RefusedTarget as error:
        allowed = f"an http or https address of at most 2000 characters that this server may reach ({error})"
        raise InvalidParameter("webhook", url, allowed) from None
