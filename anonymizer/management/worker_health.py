"""What `serve --only images` and `serve --only videos` answer: `/healthz`, `/readyz` and `/metrics` of their workers.

The process that supervises the workers answers. Nothing else can be asked of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from anonymizer.api import health
from anonymizer.service.health import worker_readiness

__all__ = ["serve", "urlpatterns"]

#: how long a client may send nothing
SILENCE_S = 10
Own = Callable[[], Mapping[str, list[int]]]


@csrf_exempt
@require_safe
def _readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the workers of this host can take work. Otherwise answer 503, and say what is missing."""
    checks, found = worker_readiness(request.META["anonymizer.own"]())
    ready = all(outcome == "ok" for outcome in checks.values())
    listed = [health.shown(worker) for worker in found] if health.may_see_workers(request) else []
    body = {"status": "ready" if ready else "not ready", "checks": checks, "workers": listed}
    return JsonResponse(body, status=200 if ready else 503)


urlpatterns = [path("healthz", health.healthz), path("readyz", _readyz), path("metrics", health.metrics)]


class _Request(WSGIRequest):
    """A request that only the addresses of this module answer."""

    urlconf = __name__


class _Handler(WSGIRequestHandler):
    """Answer a probe, and write no line for it."""

    timeout = SILENCE_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the signature is that of the library)
        """Say nothing."""


class _Application(WSGIHandler):
    request_class = _Request

    def __init__(self, own: Own) -> None:
        super().__init__()
        self._own = own

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return super().__call__(environ | {"anonymizer.own": self._own}, start_response)


def serve(host: str, port: int, own: Own) -> ThreadedWSGIServer:
    """Answer in threads of this process until it ends, or until `shutdown` of the server is called.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        own: gives, by queue, the numbers of the processes of this host that may be workers.

    Raises:
        OSError: the address is not free.
    """
    server = ThreadedWSGIServer((host, port), _Handler, ipv6=":" in host)
    server.set_app(_Application(own))
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
