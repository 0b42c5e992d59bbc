"""The Django app, and what happens when it starts."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AnonymizerConfig(AppConfig):
    """Register the system checks, the start of workers and the schedules."""

    name = "anonymizer"
    verbose_name = "Anonymizer"

    def ready(self) -> None:
        """Connect the service to Django and django-q2."""
        from anonymizer import checks  # noqa: F401 (the import registers the checks)
        from anonymizer.service import workers
        from anonymizer.service.queueing import schedules

        workers.connect()
        post_migrate.connect(schedules.ensure, sender=self, dispatch_uid="anonymizer-schedules")
