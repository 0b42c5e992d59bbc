"""Django's `migrate`, which only one process at a time runs: hosts that share a database may start together."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from anonymizer.management.migrating import one_at_a_time


class Command(migrate.Command):
    """Apply the migrations that are missing."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Wait until no other process migrates, and apply what is still missing then."""
        with one_at_a_time():
            super().handle(*args, **options)
