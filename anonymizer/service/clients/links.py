"""Signed addresses of single files, which work for some minutes without a token: elements of a page send none.

A link is of one client and one address. It ends with the token, whatever its own time is.
"""

from __future__ import annotations

import hashlib
import re

from django.core import signing

from anonymizer.models import Token
from anonymizer.service.clients.errors import InvalidToken

__all__ = ["LINK_SECONDS", "authenticate", "sign"]

#: how long a link works; the page asks for another one when it needs it
LINK_SECONDS = 600
_signer = signing.TimestampSigner(sep=".", salt="anonymizer.link")


def sign(token: Token, address: str) -> str:
    """Return what is added to an address, so that it works without the token.

    Args:
        token: of the client that asks for it.
        address: path and query of the file, as `authenticate` gets them.
    """
    value = _value(token, address)
    return f"{token.pk}{_signer.sign(value).removeprefix(value)}"


def authenticate(link: str, address: str) -> Token:
    """Return the client of a link.

    Args:
        link: as `sign` gave it.
        address: path and query of the request, without the link.

    Raises:
        InvalidToken: the link is of another address, has ended, or its token is revoked or expired.
    """
    number, _, signature = link.partition(".")
    # Python refuses to read numbers of thousands of digits
    token = Token.objects.filter(pk=int(number)).first() if re.fullmatch(r"[0-9]{1,18}", number) else None
    if token is None or not token.is_active:
        raise InvalidToken("The link is of no client with a valid token.")
    try:
        _signer.unsign(f"{_value(token, address)}.{signature}", max_age=LINK_SECONDS)
    except signing.SignatureExpired:
        raise InvalidToken("The link has ended. Ask for another one.") from None
    except signing.BadSignature:
        raise InvalidToken("The link is of another address, or was changed.") from None
    return token


def _value(token: Token, address: str) -> str:
    # a client that gets another token has no links any more
    return hashlib.sha256(f"{token.pk} {token.digest} {address}".encode(errors="surrogateescape")).hexdigest()
