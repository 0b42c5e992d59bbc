"""`/healthz`, `/readyz` and `/metrics`: for the machines that watch this one."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from anonymizer.models import Status, Task
from anonymizer.service import workers
from anonymizer.service.health import readiness
from anonymizer.service.queue import QUEUES

__all__ = ["healthz", "metrics", "readyz"]


def healthz(request: HttpRequest) -> JsonResponse:
    """This process is alive."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Able to take work: 200, or 503 with what keeps it."""
    checks = readiness()
    ready = all(each == "ok" for each in checks.values())
    loaded = [
        {
            "worker": each.name,
            "queue": each.queue,
            "device": each.device,
            "started": each.started.isoformat(),
            "models": each.serves,
            "loaded": each.loaded,
            "problem": each.problem,
            "warning": each.warning,
        }
        for each in (workers.alive(ready=True) if checks["database"] == "ok" else [])
    ]
    body = {"status": "ready" if ready else "not ready", "checks": checks, "workers": loaded}
    return JsonResponse(body, status=200 if ready else 503)


class _Tasks:
    """The numbers of the database, read when they are asked for: right for any number of processes."""

    def collect(self) -> Iterator[Metric]:
        tasks = GaugeMetricFamily("anonymizer_tasks", "Tasks by status", labels=["status"])
        counts = dict(Task.objects.order_by().values_list("status").annotate(Count("id")))
        for status in Status.values:
            tasks.add_metric([status], counts.get(status, 0))
        yield tasks
        alive = GaugeMetricFamily("anonymizer_workers", "Workers alive by queue", labels=["queue"])
        for kind, queue in QUEUES.items():
            alive.add_metric([queue], len(workers.alive(kind)))
        yield alive


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Tasks())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
