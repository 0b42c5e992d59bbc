"""The Django app, and what happens when it starts."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class AnonymizerConfig(AppConfig):
    """Register the system checks, the start of workers and the schedules."""

    name = "anonymizer"
    verbose_name = "Anonymizer"

    def ready(self) -> None:
        """Connect the service to Django and django-q2."""
        from anonymizer import checks  # noqa: F401 (the import registers the checks)
        from anonymizer.service import workers
        from anonymizer.service.queueing import connections, schedules

        connections.forget_in_children()
        workers.connect()
        connection_created.connect(_protect_database, dispatch_uid="anonymizer-database")
        post_migrate.connect(schedules.ensure, sender=self, dispatch_uid="anonymizer-schedules")


def _protect_database(connection: Any, **kwargs: object) -> None:
    """Let only this user read the files of a SQLite database, which SQLite creates with the mode of the umask."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or not Path(name).is_file():
        # a database in memory, or a server
        return
    for file in (Path(name), Path(f"{name}-wal"), Path(f"{name}-shm")):
        with suppress(FileNotFoundError, PermissionError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
