"""What happens outside of Django: errors of the web server itself as JSON, and headers that Django fails at."""

from __future__ import annotations

import codecs
import json
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn import util

__all__ = ["UsualCharsets", "install", "write_error"]

#: Encodings of form fields; all others are read as UTF-8. Python has some that fail, or that give lone surrogates.
ENCODINGS = ("utf-8", "ascii", "iso8859-1", "cp1252")
_CHARSET = re.compile(r";\s*charset\s*=\s*(\"[^\"]*\"?|[^;]*)", re.IGNORECASE)

#: sentences for statuses whose own words name places in the code of the web server
_SENTENCES = {
    414: "The address of the request is too long. Send long parameters as form fields.",
    431: "The headers of the request are too long, or there are too many.",
    500: "The server had an internal error. The log of the server says more.",
}
_CODES = {
    403: "forbidden",
    414: "uri_too_long",
    431: "headers_too_large",
    500: "internal_error",
    501: "not_implemented",
}


class UsualCharsets:
    """The WSGI application, which sees only charsets that text can be read with.

    Django reads the query string with the charset that a request declares, before any middleware sees the request.

    Args:
        application: Django's.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        kind = environ.get("CONTENT_TYPE", "")
        if any(not _is_usual(match[1].strip('" ')) for match in _CHARSET.finditer(kind)):
            environ["CONTENT_TYPE"] = _CHARSET.sub("", kind)
        return self._application(environ, start_response)


def _is_usual(charset: str) -> bool:
    try:
        return codecs.lookup(charset).name in ENCODINGS
    except (LookupError, ValueError):
        return False


def install() -> None:
    """Have gunicorn, which serves this process, write its errors with `write_error`."""
    util.write_error = write_error


def write_error(client: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer a request that never reached Django.

    Args:
        client: the connection.
        status: the HTTP status.
        reason: its words in the status line.
        message: what is wrong, in the words of gunicorn.
    """
    sentence = _SENTENCES.get(status) or f"The request is not valid HTTP: {message or reason}"
    error = {"status_code": status, "error": sentence, "code": _CODES.get(status, "invalid_request")}
    body = json.dumps(error).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(client, head.encode("latin-1") + body)
