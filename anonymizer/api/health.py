"""`/healthz`, `/readyz` and `/metrics`: for load balancers and monitoring."""

from __future__ import annotations

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from anonymizer.api import authentication, exceptions
from anonymizer.models import Worker
from anonymizer.service import workers
from anonymizer.service.clients import tokens
from anonymizer.service.clients.errors import Forbidden, InvalidToken
from anonymizer.service.health import PROBE_HEADER, probe_proof, readiness
from anonymizer.service.monitoring import capacity
from anonymizer.service.monitoring.exposition import exposition

__all__ = ["healthz", "may_see_workers", "metrics", "readyz", "shown"]


@csrf_exempt
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process is alive."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the server can take work. Otherwise answer 503, and say what is missing.

    Everybody gets the checks, because load balancers send no token. The workers are listed only for this machine, and
    for clients with a token.
    """
    checks = readiness()
    ready = all(outcome == "ok" for outcome in checks.values())
    listed = checks["database"] == "ok" and may_see_workers(request)
    loaded = [shown(worker) for worker in (workers.alive(ready=True) if listed else [])]
    body: dict[str, object] = {
        "status": "ready" if ready else "not ready",
        "checks": checks,
        "queue": _queue() if checks["database"] == "ok" else {},
        "workers": loaded,
    }
    if listed:
        # how large a disk is, is nobody else's business
        disks = {alias: capacity.disk_usage(alias) for alias in ("input", "output")}
        body["disk"] = {
            alias: {"used_bytes": usage[0], "free_bytes": usage[1]} for alias, usage in disks.items() if usage
        }
    return JsonResponse(body, status=200 if ready else 503)


def shown(worker: Worker) -> dict[str, object]:
    """Return a worker as `/readyz` lists it."""
    return {
        "worker": worker.name,
        "queue": worker.queue,
        "device": worker.device,
        "started": worker.started.isoformat(),
        "models": worker.serves,
        "loaded": worker.loaded,
        "problem": worker.problem,
        "warning": worker.warning,
    }


def _queue() -> dict[str, dict[str, float]]:
    """By kind of file, how many tasks wait, and for how long the oldest of them has."""
    now = time.time()
    return {
        kind.value: {
            "waiting": queue.length,
            "oldest_seconds": 0.0 if queue.oldest is None else round(max(0.0, now - queue.oldest), 1),
        }
        for kind, queue in capacity.queues().items()
    }


def may_see_workers(request: HttpRequest) -> bool:
    """Return whether a request comes from this machine, from `serve` itself, or from a client with a token."""
    if constant_time_compare(request.headers.get(PROBE_HEADER, ""), probe_proof()):
        return True
    try:
        return (
            authentication.is_local(request) or settings.ALLOW_ANONYMOUS or authentication.client(request) is not None
        )
    except InvalidToken:
        return False


@csrf_exempt
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics in the format of Prometheus.

    They count the tasks of all clients. Where there are tokens, only a client that may read them gets them.
    """
    try:
        client = authentication.client(request)
        if client is None and tokens.exist():
            raise InvalidToken(authentication.NO_TOKEN)
        if client is not None and not client.reads_metrics:
            raise Forbidden("This client may not read the metrics; `anonymizer token create --metrics` lets it.")
    except (InvalidToken, Forbidden) as error:
        return exceptions.plain_answer(error)
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
