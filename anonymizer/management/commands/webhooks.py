"""`anonymizer manage webhooks`: the process that sends webhooks. `serve` starts it."""

from __future__ import annotations

import signal
import threading
from typing import Any

from anonymizer.management.base import AnonymizerCommand
from anonymizer.service.webhooks import sender


class Command(AnonymizerCommand):
    """Send webhooks until a signal comes."""

    help = "Send the webhooks of tasks that have ended, until the process is stopped. `anonymizer serve` starts it."

    def handle(self, *args: Any, **options: Any) -> None:
        """Send webhooks until SIGTERM or SIGINT is received."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        sender.run(stop)
