"""`/healthz`, `/readyz` and `/metrics`: for load balancers and monitoring."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from anonymizer.api import authentication, exceptions
from anonymizer.models import Status, Task
from anonymizer.service import workers
from anonymizer.service.clients import tokens
from anonymizer.service.clients.errors import Forbidden, InvalidToken
from anonymizer.service.health import PROBE_HEADER, probe_proof, readiness
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["healthz", "metrics", "readyz"]


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer that this process is alive."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if the server can take work. Otherwise answer 503, and say what is missing.

    Everybody gets the checks, because load balancers send no token. The workers are listed only for this machine, and
    for clients with a token.
    """
    checks = readiness()
    ready = all(outcome == "ok" for outcome in checks.values())
    listed = checks["database"] == "ok" and _may_see_workers(request)
    loaded = [
        {
            "worker": worker.name,
            "queue": worker.queue,
            "device": worker.device,
            "started": worker.started.isoformat(),
            "models": worker.serves,
            "loaded": worker.loaded,
            "problem": worker.problem,
            "warning": worker.warning,
        }
        for worker in (workers.alive(ready=True) if listed else [])
    ]
    body = {"status": "ready" if ready else "not ready", "checks": checks, "workers": loaded}
    return JsonResponse(body, status=200 if ready else 503)


def _may_see_workers(request: HttpRequest) -> bool:
    if constant_time_compare(request.headers.get(PROBE_HEADER, ""), probe_proof()):
        return True
    try:
        return (
            authentication.is_local(request) or settings.ALLOW_ANONYMOUS or authentication.client(request) is not None
        )
    except InvalidToken:
        return False


class _DatabaseCollector:
    """Count tasks and workers in the database at each request, so that all web processes report the same numbers."""

    def collect(self) -> Iterator[Metric]:
        tasks = GaugeMetricFamily("anonymizer_tasks", "Number of tasks by status", labels=["status"])
        counts = dict(Task.objects.order_by().values_list("status").annotate(Count("id")))
        for status in Status.values:
            tasks.add_metric([status], counts.get(status, 0))
        yield tasks
        alive = GaugeMetricFamily("anonymizer_workers", "Number of living workers by queue", labels=["queue"])
        for kind, queue in QUEUES.items():
            alive.add_metric([queue], len(workers.alive(kind)))
        yield alive


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
    registry = CollectorRegistry()
    registry.register(_DatabaseCollector())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
