"""The metrics of this server in the format of Prometheus: what all processes counted, and what the database knows."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from django.db.models import Count, Sum
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from anonymizer.models import File, Status, Task, WebhookStatus
from anonymizer.service import workers
from anonymizer.service.monitoring import capacity, counters, shared_counters
from anonymizer.service.queueing.queue import QUEUES

__all__ = ["exposition"]

log = logging.getLogger(__name__)


def exposition() -> bytes:
    """Return all metrics as text."""
    registry = CollectorRegistry()
    registry.register(_DatabaseCollector())
    registry.register(_CounterCollector())
    return generate_latest(registry)


class _CounterCollector:
    """What all processes of `serve` counted; without `serve`, what this process did."""

    def collect(self) -> Iterator[Metric]:
        own = shared_counters.folder()
        if own is None:
            yield from counters.REGISTRY.collect()
            return
        try:
            yield from MultiProcessCollector.merge(shared_counters.files(own))  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            # a process that was killed while it began its file
            log.warning("The counters cannot be read (%s: %s).", type(error).__name__, error)


class _DatabaseCollector:
    """What the database and the disks tell at each request, so that all web processes report the same numbers."""

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
        yield from self._queues()
        yield self._webhooks()
        yield from self._storage()

    def _queues(self) -> Iterator[Metric]:
        length = GaugeMetricFamily("anonymizer_queue_length", "Number of tasks that wait", labels=["kind"])
        oldest = GaugeMetricFamily(
            "anonymizer_queue_oldest_seconds", "Age of the oldest task that waits; 0 if none waits", labels=["kind"]
        )
        for kind, queue in capacity.queues().items():
            length.add_metric([kind.value], queue.length)
            oldest.add_metric([kind.value], 0.0 if queue.oldest is None else max(0.0, time.time() - queue.oldest))
        yield length
        yield oldest
        running = GaugeMetricFamily("anonymizer_running", "Number of tasks that a worker has", labels=["kind"])
        for kind, number in capacity.running().items():
            running.add_metric([kind.value], number)
        yield running

    def _webhooks(self) -> Metric:
        webhooks = GaugeMetricFamily(
            "anonymizer_webhooks", "Number of tasks with a webhook, by its outcome", labels=["status"]
        )
        with_webhook = Task.objects.exclude(webhook_status=WebhookStatus.EMPTY).order_by()
        counts = dict(with_webhook.values_list("webhook_status").annotate(Count("id")))
        for status in WebhookStatus.values:
            if status != WebhookStatus.EMPTY:
                webhooks.add_metric([status], counts.get(status, 0))
        return webhooks

    def _storage(self) -> Iterator[Metric]:
        stored = GaugeMetricFamily(
            "anonymizer_stored_bytes", "Bytes of the files of tasks, by storage", labels=["storage"]
        )
        sizes = dict(File.objects.order_by().values_list("storage_alias").annotate(Sum("size")))
        disks = GaugeMetricFamily(
            "anonymizer_disk_bytes",
            "Bytes of the disk of each storage that are used and free",
            labels=["storage", "state"],
        )
        for alias in ("input", "output"):
            stored.add_metric([alias], sizes.get(alias) or 0)
            if (usage := capacity.disk_usage(alias)) is not None:
                for state, value in zip(("used", "free"), usage, strict=True):
                    disks.add_metric([alias, state], value)
        yield stored
        yield disks
