"""What is refused before any view runs, and the headers that tell browsers what they may do with an answer."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from anonymizer.api.authentication import FOREIGN, is_local
from anonymizer.api.exceptions import error_answer
from anonymizer.service.clients import tokens

__all__ = ["ALWAYS_OPEN", "TrustMiddleware"]

#: load balancers ask these by address, and without a token
ALWAYS_OPEN = frozenset({"/healthz", "/readyz"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
DEFAULT_PORTS = {"http": 80, "https": 443}
#: the API: nothing in it is a page
API_POLICY = (
    "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'"
)

#: the page, the admin and the description of the API: scripts only from files of this server
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class TrustMiddleware:
    """Refuse foreign hosts, foreign pages and, on a server without tokens, other machines."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a request; Django calls this."""
        if request.path in ALWAYS_OPEN:
            refused = None
            if _host(request) is not None:
                # Django would refuse the name; the answer tells nothing to those who are not local
                request.META.update(HTTP_HOST="localhost", **{FOREIGN: "1"})
        else:
            refused = _host(request) or _sender(request) or _foreign_page(request)
        answer = refused or self._get_response(request)
        is_api = request.path.startswith(("/v1/", "/metrics", *ALWAYS_OPEN))
        answer.headers.setdefault("Content-Security-Policy", API_POLICY if is_api else PAGE_POLICY)
        answer.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        answer.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if is_api:
            answer.headers.setdefault("Cache-Control", "private, no-store")
        return answer


def _host(request: HttpRequest) -> HttpResponse | None:
    """Refuse names that are not those of this server: a page may have bound its own name to this machine's address."""
    try:
        request.get_host()
    except DisallowedHost:
        return error_answer(
            400,
            "invalid_host",
            "This server does not answer to the host of the request. ANONYMIZER_ALLOWED_HOSTS lists the names it has.",
        )
    return None


def _sender(request: HttpRequest) -> HttpResponse | None:
    """Refuse other machines as long as there is no token."""
    if settings.ALLOW_ANONYMOUS or is_local(request) or tokens.exist():
        return None
    return error_answer(
        403,
        "forbidden",
        "This server has no tokens yet, so it answers only requests from its own machine. "
        "`anonymizer token create NAME` makes a token; `serve --allow-anonymous` answers everybody.",
    )


def _foreign_page(request: HttpRequest) -> HttpResponse | None:
    """Refuse changes that the page of another site asks a browser for. Clients that are no browsers send no origin."""
    if request.method in SAFE_METHODS:
        return None
    origin = request.headers.get("Origin", "")
    if origin and origin in settings.CSRF_TRUSTED_ORIGINS:
        return None
    site = request.headers.get("Sec-Fetch-Site", "same-origin").strip().lower()
    if site in ("same-origin", "none") and (not origin or _is_own(origin, request)):
        return None
    return error_answer(
        403,
        "cross_site",
        "The request comes from a page of another site. ANONYMIZER_CSRF_TRUSTED_ORIGINS lists the sites that may "
        "send it.",
    )


def _is_own(origin: str, request: HttpRequest) -> bool:
    """Whether an origin is this server. The scheme is not compared: behind a proxy with TLS it differs."""
    try:
        theirs, given, named = urlsplit(origin), urlsplit(f"//{request.get_host()}"), urlsplit(settings.API_ENDPOINT)
        if theirs.scheme not in DEFAULT_PORTS:
            return False
        port = theirs.port or DEFAULT_PORTS[theirs.scheme]
        if theirs.hostname == given.hostname and port in ([given.port] if given.port else DEFAULT_PORTS.values()):
            return True
        return theirs.hostname == named.hostname and port == (named.port or DEFAULT_PORTS.get(named.scheme))
    except ValueError:
        return False
