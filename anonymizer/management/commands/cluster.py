"""`anonymizer manage cluster`: the workers of one queue. `serve` starts it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django_q.conf import Conf

from anonymizer.service import claims, work, workers
from anonymizer.service.queueing.guard import Guard


class Command(BaseCommand):
    """Run the workers of a queue, until SIGTERM."""

    help = "Run the workers of the queue that Q_CLUSTER_NAME names. `anonymizer serve` starts this for each queue."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM, or until a process of the queue dies."""
        Guard(
            Conf.CLUSTER_NAME,
            Conf.WORKERS,
            Conf.TIMEOUT,
            find=workers.looking(work.find),
            release=lambda pids: claims.release_tasks([workers.name(pid) for pid in pids]),
            fail=lambda pid: claims.fail_overdue(workers.name(pid)),
            idle=workers.note_idle,
            prepare=workers.choose_device,
            grace_s=settings.STOP_TIMEOUT.total_seconds(),
        ).run()
