"""Make, find and revoke the tokens of clients. A token has 256 random bits; only its SHA-256 is stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from anonymizer.models import Token
from anonymizer.pipeline.errors import InvalidParameter
from anonymizer.service.clients.errors import InvalidToken

__all__ = ["PREFIX", "authenticate", "create", "exist", "new_secret", "revoke"]

#: lets people and scanners of repositories recognise a token
PREFIX = "anon_"
#: `last_used` is written at most this often
USED_EVERY = timedelta(minutes=1)


def exist() -> bool:
    """Return whether there is any token, also one that was revoked. If so, every request needs a token."""
    return Token.objects.exists()


def new_secret(token: Token) -> str:
    """Give a client a new token, which is not stored anywhere. The row is changed, not saved.

    Returns:
        The token.
    """
    # a slow hash protects short passwords; 256 random bits need none
    secret = PREFIX + secrets.token_urlsafe(32)
    token.digest = _digest(secret)
    token.revoked = None
    return secret


def create(
    name: str,
    *,
    expires: datetime | None = None,
    rate: str = "",
    tasks_a_day: int | None = None,
    bytes_a_day: int | None = None,
    reads_metrics: bool = False,
    reviews: bool = False,
    sees_originals: bool = False,
    replace: bool = False,
) -> tuple[Token, str]:
    """Make a token for a client.

    Args:
        name: the name of the client.
        expires: when the token ends. Default: never.
        rate: the most requests, such as `60/min`. Default: no limit.
        tasks_a_day: the most uploads a day (UTC). Default: no limit.
        bytes_a_day: the most uploaded bytes a day (UTC). Default: no limit.
        reads_metrics: whether the client may read `/metrics`.
        reviews: whether the client may review and approve results, also those of other clients.
        sees_originals: whether it may see the originals of other clients' tasks that need a review.
        replace: whether a client of this name gets a new token and these limits. It keeps its tasks.

    Returns:
        The row, and the token, which cannot be read again.

    Raises:
        InvalidParameter: a value is not allowed, or the client exists already.
    """
    limits: dict[str, Any] = {
        "expires": expires, "rate": rate, "tasks_a_day": tasks_a_day, "bytes_a_day": bytes_a_day,
        "reads_metrics": reads_metrics, "reviews": reviews, "sees_originals": sees_originals,
    }  # fmt: skip
    with transaction.atomic():
        token = Token.objects.filter(name=name).first() or Token(name=name)
        if token.pk and not replace:
            raise InvalidParameter("name", name, "the name of a client that has no token yet")
        for field, value in limits.items():
            setattr(token, field, value)
        secret = new_secret(token)
        try:
            token.full_clean()
        except ValidationError as error:
            field, sentences = next(iter(error.message_dict.items()))
            raise InvalidParameter(field, getattr(token, field, ""), f"valid: {sentences[0].rstrip('.')}") from None
        token.save()
    return token, secret


def revoke(name: str) -> bool:
    """Revoke the token of a client. Its tasks stay.

    Returns:
        False if it was revoked before.

    Raises:
        InvalidParameter: there is no client of this name.
    """
    if not Token.objects.filter(name=name).exists():
        raise InvalidParameter("name", name, "the name of a client (see `anonymizer token list`)")
    return Token.objects.filter(name=name, revoked=None).update(revoked=timezone.now()) == 1


def authenticate(secret: str) -> Token:
    """Return the client that a token belongs to.

    Raises:
        InvalidToken: no client has this token, or it is revoked or expired.
    """
    token = Token.objects.filter(digest=_digest(secret)).first()
    if token is None:
        raise InvalidToken("The token is not known to this server.")
    if token.revoked is not None:
        raise InvalidToken(f"The token was revoked on {token.revoked:%Y-%m-%d}.")
    now = timezone.now()
    if token.expires is not None and token.expires <= now:
        raise InvalidToken(f"The token expired on {token.expires:%Y-%m-%d %H:%M} UTC.")
    if token.last_used is None or now - token.last_used > USED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used=now)
    return token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
