"""`anonymizer manage cluster`: the workers of one queue, or the process that sends webhooks. `serve` starts both."""

from __future__ import annotations

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django_q.conf import Conf

from anonymizer.service import claims, work, workers
from anonymizer.service.queueing.guard import Guard
from anonymizer.service.webhooks import sender


class Command(BaseCommand):
    """Run the workers of a queue, or send webhooks, until SIGTERM."""

    help = "Run the workers of the queue that Q_CLUSTER_NAME names. `anonymizer serve` starts this for each queue."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to do instead."""
        parser.add_argument(
            "instead", nargs="?", choices=["webhooks"], help="send the webhooks of tasks that have ended instead"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM, or until a process of the queue dies."""
        if options["instead"] == "webhooks":
            _send_webhooks()
            return
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


def _send_webhooks() -> None:
    """Send webhooks until SIGTERM or SIGINT is received."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sender.run(stop)
