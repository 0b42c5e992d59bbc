"""Which client sends a request, and what it may do."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlencode

from django.core.exceptions import DisallowedHost
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.request import split_domain_port
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from anonymizer.models import Task, Token
from anonymizer.service.accounting import audit
from anonymizer.service.clients import links, tokens
from anonymizer.service.clients.errors import InvalidToken

__all__ = [
    "LINK",
    "HasToken",
    "TokenAuthentication",
    "actor",
    "client",
    "is_by_link",
    "is_local",
    "is_loopback_host",
    "link_address",
    "own_tasks",
    "owner",
]

NO_TOKEN = "The request has no token. Send it in the header Authorization: Bearer TOKEN, or in X-API-Key."

#: the parameter that stands for a token in the address of one file
LINK = "link"
#: the key in `META` of the user of the admin who sends a request; it is looked up when it is used
SESSION_USER = "anonymizer.session_user"
#: the key in `META` of a request whose host was foreign
FOREIGN = "anonymizer.foreign_host"
#: a request that has one of these came through a proxy: the address of its sender is that of the proxy
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def owner(request: Request) -> Token | None:
    """Return the client of a request that the API accepted, or None on a server without tokens."""
    return cast("Token | None", request.auth)


def actor(request: Request) -> str:
    """Return who sends a request, as the audit log names it."""
    return audit.client(owner(request))


def own_tasks(request: Request) -> QuerySet[Task]:
    """Return the tasks that the client of a request may see: its own. On a server without tokens these are all."""
    return Task.objects.filter(owner=owner(request))


def client(request: HttpRequest) -> Token | None:
    """Return the client whose token a request has, or None if it has no token.

    Headers that hold no token of ours are ignored, as long as one of them does: a proxy may have a password of its own.

    Raises:
        InvalidToken: no client has the token, or it is revoked or expired. A server without tokens never raises this.
    """
    error = None
    for secret in _secrets(request):
        try:
            return tokens.authenticate(secret)
        except InvalidToken as invalid:
            error = invalid
    if error is not None and tokens.exist():
        raise error
    return None


def link_address(path: str, query: Mapping[str, str]) -> str:
    """Return the address that a link is signed for: without the link itself, and with its parameters in one order."""
    return f"{path}?{urlencode(sorted((name, value) for name, value in query.items() if name != LINK))}"


def is_by_link(request: HttpRequest) -> bool:
    """Return whether a request has a link instead of a token."""
    return request.method in ("GET", "HEAD") and LINK in request.GET


def _of_link(request: HttpRequest) -> Token | None:
    """Return the client of the link in the address of a request, or None if there is none.

    Raises:
        InvalidToken: the link is not valid.
    """
    if not is_by_link(request) or not tokens.exist():
        return None
    # a name that is given twice is not what was signed
    given = {name: "\n".join(values) for name, values in request.GET.lists()}
    return links.authenticate(given[LINK], link_address(request.path, given))


def is_local(request: HttpRequest) -> bool:
    """Return whether a request comes from this machine, by a loopback name, and through no proxy that says so."""
    try:
        host = split_domain_port(request.get_host())[0]
    except DisallowedHost:
        return False
    sender = str(request.META.get("REMOTE_ADDR", ""))
    return (
        FOREIGN not in request.META
        and is_loopback_host(host)
        and _is_loopback_address(sender)
        and not any(header in request.headers for header in FORWARDED)
    )


def is_loopback_host(host: str) -> bool:
    """Return whether a host name or address stands for this machine alone."""
    return host == "localhost" or host.endswith(".localhost") or _is_loopback_address(host.strip("[]"))


def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class TokenAuthentication(BaseAuthentication):
    """Find the client by its token. `request.auth` becomes its row; there is no user."""

    def authenticate(self, request: Request) -> tuple[None, Token] | None:
        """Return no user and the client, or None if the request has no token."""
        # Django REST framework is about to replace it: the API's own views know no users
        request._request.META[SESSION_USER] = getattr(request._request, "user", None)
        token = client(request._request) or _of_link(request._request)
        return None if token is None else (None, token)

    def authenticate_header(self, request: Request) -> str:
        """Return the scheme that answers with the status 401 name."""
        return "Bearer"


class HasToken(BasePermission):
    """Refuse requests without a token as soon as there is any token, also a revoked one."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return True.

        Raises:
            InvalidToken: the request needs a token.
        """
        if request.auth is None and tokens.exist():
            raise InvalidToken(NO_TOKEN)
        return True


class _Schema(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describe the token in the OpenAPI schema."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "Made by `anonymizer token create`."}


def _secrets(request: HttpRequest) -> Iterator[str]:
    """Everything in the headers that may be a token."""
    if key := request.headers.get("X-API-Key", "").strip():
        yield key
    scheme, _, value = request.headers.get("Authorization", "").strip().partition(" ")
    if not value:
        # clients of Celantur's cloud send the token alone
        value, scheme = scheme, "bearer"
    value = value.strip()
    if scheme.lower() == "basic":
        # clients that know no token, only an address: https://anything:TOKEN@host
        try:
            value = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            value = ""
    elif scheme.lower() not in ("bearer", "token"):
        value = ""
    if value:
        yield value
